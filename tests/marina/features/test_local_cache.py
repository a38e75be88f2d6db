"""The cache in the process: bounded, and never behind what it was told."""

import tracemalloc

from marina.features.local_cache import UNKNOWN, LocalCache


def test_what_it_holds_stays_within_its_bound() -> None:
    tracemalloc.start()
    cache = LocalCache(2_000_000)
    cache.open()
    for number in range(20_000):
        cache.end(cache.begin(), [(("code_health", f"repository {number}"), bytes(165))])
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 1_000_000 < cache.size <= 2_000_000 and taken < 2_000_000
    assert cache.get(("code_health", "repository 0")) is UNKNOWN
    assert cache.get(("code_health", "repository 19999")) == bytes(165)


def test_what_was_outdated_while_it_was_read_is_not_kept() -> None:
    cache, key = LocalCache(10_000), ("household", "a")
    cache.open()
    reading = cache.begin()
    cache.drop(key)
    cache.end(reading, [(key, b"old")])
    assert cache.get(key) is UNKNOWN
    reading = cache.begin()
    cache.shut()
    cache.open()
    cache.end(reading, [(key, b"old")])
    assert cache.get(key) is UNKNOWN and cache.size == 0


def test_it_holds_nothing_while_it_is_shut() -> None:
    cache, key = LocalCache(10_000), ("household", "a")
    cache.end(cache.begin(), [(key, b"one")])
    assert cache.get(key) is UNKNOWN
    cache.open()
    cache.end(cache.begin(), [(key, None)])
    assert cache.get(key) is None
