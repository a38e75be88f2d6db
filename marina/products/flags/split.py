"""Which part of a thousand a unit is in: the gateway's own hash, so that a flag divides units as a canary does.

The gateway draws versions by nginx's ``split_clients``: MurmurHash2 (Appleby, 2008; 32 bits, seed 0) of
``MODEL|KEY`` gives the hundredth, of ``KEY|MODEL`` the tenth of that. A flag's name stands in the model's place. A test
holds both against a running nginx.
"""

import functools
import struct

SALT = 0x5BD1E995
WORD = 0xFFFFFFFF

HUNDREDTH = 100 * WORD // 10_000
"""As wide as nginx makes a part of 1 %."""
TENTH = 1000 * WORD // 10_000

PARTS = 1000

REMEMBERED, LONGEST = 32_768, 128
"""Units whose place is remembered, if their key is no longer than that: some 10 MB at most."""


def murmur2(data: bytes) -> int:
    """Return MurmurHash2 of a key, as nginx computes it: 32 bits, unsigned."""
    size = len(data)
    left = size & 3
    hashed = size
    for word in struct.unpack_from(f"<{size >> 2}I", data):
        mixed = word * SALT & WORD
        hashed = hashed * SALT & WORD ^ (mixed ^ mixed >> 24) * SALT & WORD
    if left:
        hashed = (hashed ^ int.from_bytes(data[-left:], "little")) * SALT & WORD
    hashed = (hashed ^ hashed >> 13) * SALT & WORD
    return hashed ^ hashed >> 15


def part(name: str, key: str) -> int:
    """Return which of the `PARTS` a unit is in, from 0; the same for every process and every day.

    Parameters
    ----------
    name
        Of a flag.
    key
        What is drawn: a user, a session, or a request's id where there is neither.
    """
    return 10 * _hundredth(name, key) + _tenth(name, key)


def is_below(name: str, key: str, parts: int) -> bool:
    """Say whether a unit is in one of the first parts; the second hash is only asked where the first does not tell."""
    hundredth = _remembered(name, key) if len(key) <= LONGEST else _hundredth(name, key)
    whole = parts // 10
    return hundredth < whole or (hundredth == whole and parts % 10 > _tenth(name, key))


def _hundredth(name: str, key: str) -> int:
    return min(99, murmur2(f"{name}|{key}".encode()) // HUNDREDTH)


def _tenth(name: str, key: str) -> int:
    return min(9, murmur2(f"{key}|{name}".encode()) // TENTH)


_remembered = functools.lru_cache(maxsize=REMEMBERED)(_hundredth)
