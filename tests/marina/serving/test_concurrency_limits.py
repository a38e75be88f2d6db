import pytest

from marina.serving.concurrency_limits import TIERS, Limit, Look, tier


class Served:
    """A version that answers so many a second, and clients in a closed loop that keep to the limit."""

    def __init__(self, limit: Limit, per_s: float, clients: int) -> None:
        self.limit, self.per_s, self.clients = limit, per_s, clients
        self.time_s = self.arrived = self.done = 0.0

    def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.time_s += 1
            self.arrived += self.per_s
            self.done += self.per_s
            inside = min(self.clients, self.limit.requests)
            waiting = max(0, inside - 1)
            self.arrived = self.done + inside
            refused = 100 if self.clients > self.limit.requests else 0
            self.limit.look(Look(self.time_s, self.arrived, waiting, refused))


def test_tiers_are_powers_of_two_and_rounded_down() -> None:
    assert TIERS == (4, 8, 16, 32, 64, 128, 256, 512, 1024)
    assert [tier(number) for number in (0, 3.9, 4, 63, 64, 5000)] == [4, 4, 4, 32, 64, 1024]


@pytest.mark.parametrize(
    ("pass_s", "at_once", "requests"), [(0.1, 1, 64), (0.001, 8, 1024), (2.0, 1, 4), (0.5, 8, 128)]
)
def test_the_first_guess_is_what_the_example_promises_for_ten_seconds(
    pass_s: float, at_once: int, requests: int
) -> None:
    limit = Limit(5.0, at_once)
    limit.guess(pass_s)
    assert limit.requests == requests


def test_there_is_always_room_for_a_next_batch() -> None:
    limit = Limit(5.0, at_once=32)
    limit.guess(60.0)
    assert limit.requests == 64


@pytest.mark.parametrize("per_s", [7, 10, 12.7, 100])
@pytest.mark.parametrize("clients", [40, 500])
def test_whatever_was_guessed_waits_end_up_within_their_part_of_the_time_limit(per_s: float, clients: int) -> None:
    for guess in TIERS:
        limit = Limit(5.0, 1)
        limit.requests = guess
        served = Served(limit, per_s, clients)
        served.pass_seconds(30)
        fits = per_s * 5
        assert min(fits / 4, clients) < limit.requests
        assert min(clients, limit.requests) <= fits * 1.01


@pytest.mark.parametrize("idle", [0, 1, 20])
def test_a_limit_that_was_guessed_too_high_is_right_three_seconds_after_requests_came(idle: int) -> None:
    limit = Limit(5.0, 1)
    assert limit.requests == 1024
    for second in range(idle):
        limit.look(Look(float(second), 0, 0, 0))
    for second in range(1, 4):  # 200 a second for one that answers 10
        limit.look(Look(float(idle + second), 200 * second, 190 * second, 0))
    assert limit.requests <= 32


def test_a_fast_version_is_never_limited() -> None:
    limit = Limit(5.0, 8)
    limit.guess(0.001)
    served = Served(limit, 5000, 500)
    for _ in range(60):
        served.pass_seconds(1)
        assert limit.requests == 1024


def test_a_limit_that_binds_although_nobody_waits_is_raised() -> None:
    limit = Limit(5.0, 1)
    limit.guess(0.4)
    assert limit.requests == 16
    seen = []
    for second in range(6):
        limit.look(Look(float(second), 10.0 * second, 0, 5))
        seen.append(limit.requests)
    assert seen == [32, 32, 64, 64, 128, 128]  # refusals of the second in which it was raised may be of before


def test_a_burst_after_a_pause_says_nothing_of_what_the_version_can_do() -> None:
    limit = Limit(5.0, 1)
    limit.look(Look(0.0, 0, 0, 0))
    limit.look(Look(1.0, 60, 59, 0))
    assert limit.requests == 1024


def test_nobody_is_let_in_behind_what_is_computed_for_nobody() -> None:
    limit = Limit(5.0, 1)
    limit.requests = 32
    for second in range(4):
        limit.look(Look(float(second), 400.0 + 10 * second, 400, 0))
    assert limit.requests == 4


def test_another_torchserve_counts_from_nothing() -> None:
    limit = Limit(5.0, 1)
    limit.look(Look(0.0, 1000, 50, 0))
    limit.look(Look(1.0, 20, 10, 0))
    limit.look(Look(2.0, 1020, 10, 0))
    assert limit.requests == 1024
