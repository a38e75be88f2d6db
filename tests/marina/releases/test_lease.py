"""Of all controllers one acts, and one that lost the lease does not write."""

from collections.abc import Callable

import pytest

from marina.database.connection import Database
from marina.releases.lease import LEASE_S, Lease


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def take(database: Database, clock: Clock) -> Callable[[Lease], bool]:
    def taken(lease: Lease) -> bool:
        with database.writing() as connection:
            return lease.take(connection, clock.now)

    return taken


def test_one_has_it_as_long_as_it_renews_it(clock: Clock, take: Callable[[Lease], bool]) -> None:
    first, second = Lease("acts", "first", clock), Lease("acts", "second", clock)
    for _ in range(20):
        clock.now += 1
        assert take(first) and not take(second)


def test_another_takes_over_when_the_holder_is_silent(
    database: Database, clock: Clock, take: Callable[[Lease], bool]
) -> None:
    first, second = Lease("acts", "first", clock), Lease("acts", "second", clock)
    assert take(first) and not take(second)
    clock.now += LEASE_S - 0.1
    assert not take(second)
    clock.now += 0.2
    assert take(second)
    with database.writing() as connection:  # the first was only stopped, and goes on
        assert not first.held(connection) and second.held(connection)
    assert first.due() and not take(first)


def test_who_gives_it_back_is_followed_at_once(database: Database, clock: Clock, take: Callable[[Lease], bool]) -> None:
    first, second = Lease("acts", "first", clock), Lease("acts", "second", clock)
    assert take(first)
    with database.writing() as connection:
        second.give_back(connection)  # not its to give
        assert first.held(connection)
        first.give_back(connection)
    assert take(second) and not take(first)


def test_clocks_of_two_hosts_may_differ(database: Database, clock: Clock) -> None:
    first, second = Lease("acts", "first", clock), Lease("acts", "second", clock)
    for second_later in range(5):
        clock.now += 1
        with database.writing() as connection:
            assert first.take(connection, 1_000.0 + second_later)
            assert not second.take(connection, 900_000.0)
