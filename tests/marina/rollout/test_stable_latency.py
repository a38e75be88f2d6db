"""Stable's p95 is that of quiet times, or is not taken."""

from typing import Any

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import EVIDENCE, TALLIES
from marina.events import latency_histogram
from marina.rollout.judge.decision import decide
from marina.rollout.judge.evidence import Evidence
from marina.rollout.rollouts import describe
from marina.rollout.stable_latency import StableLatency, read_stable_latency
from marina.rollout.state_machine import advance
from tests.marina.rollout.releases import NOW, Releases, answer, begin, declared, latest, policy, supervise
from tests.marina.rollout.test_state_machine import fleet, rollout

START = 1_700_000_000
MOST_MS = 1_500.0


def put(database: Database, *windows: dict[str, Any]) -> None:
    with database.writing() as connection:
        database.put(connection, EVIDENCE, [{"errors": 0, "retried": 0} | one for one in windows])


def window(number: int, latencies: dict[float, int], replica: str = "a", **counts: int) -> dict[str, Any]:
    """Return a window of answers that took so many milliseconds each."""
    found = latency_histogram.to_json({latency_histogram.bucket(ms): count for ms, count in latencies.items()})
    row = {"model": "m", "version": "1.0", "replica": replica, "start": START + 5 * number, "latencies": found}
    return row | {"requests": sum(latencies.values()) + counts.get("errors", 0)} | counts


def p95(database: Database) -> StableLatency:
    with database.reading() as connection:
        return read_stable_latency(connection, "m", "1.0", START, MOST_MS)


QUIET = {10.0: 90, 20.0: 10}
SLOW = {10.0: 60, 3_071.0: 40}


def test_it_is_known_from_200_answers_on(database: Database) -> None:
    put(database, window(-1, {900.0: 500}), window(0, {10.0: 190}))
    assert p95(database).p95_ms is None
    put(database, window(1, {100.0: 10}))
    assert p95(database).p95_ms == pytest.approx(10, rel=0.011)
    put(database, window(2, {100.0: 1}))
    assert p95(database).p95_ms == pytest.approx(100, rel=0.011)


@pytest.mark.parametrize(
    "odd",
    [
        [window(number, SLOW, retried=1) for number in range(0, 40, 2)],  # workers died all the time
        [window(number, {3_071.0: 100}) for number in range(0, 40, 2)],  # overloaded, and nothing failed
        [window(number, SLOW, errors=20) for number in range(0, 40, 2)],
        [window(number, {900.0: 100}) for number in range(8)],  # just loaded: slow, and not too slow
        [window(number, SLOW, "b", retried=1) for number in range(40)],  # all of it on another server
    ],
    ids=["workers died", "overload", "failures", "cold start", "another server"],
)
def test_an_odd_time_does_not_count(database: Database, odd: list[dict[str, Any]]) -> None:
    put(database, *(window(number, QUIET) for number in range(1, 40, 2)), *odd)
    assert p95(database).p95_ms == pytest.approx(20, rel=0.011)


@pytest.mark.parametrize(
    "windows",
    [
        [window(number, SLOW, retried=2) for number in range(40)],
        [window(number, {2_900.0: 100}) for number in range(40)],
        [window(number, QUIET, errors=2) for number in range(40)],
        [window(number, {10.0: 1}) for number in range(0, 700, 5)],  # hardly any requests
        [],
    ],
    ids=["workers died", "overload", "failures", "few requests", "none"],
)
def test_without_quiet_times_it_is_not_taken_and_what_is_missing_is_said(
    database: Database, windows: list[dict[str, Any]]
) -> None:
    put(database, *windows)
    found = p95(database)
    quiet = 140 if len(windows) > 40 else 0
    assert (found.p95_ms, found.quiet) == (None, quiet)
    assert f"needs {200 - quiet} more answers of stable's in quiet times" in found.missing
    assert "p95 at most 1500 ms" in found.missing


def test_rare_failures_and_windows_of_a_few_requests_leave_it_as_it_is(database: Database) -> None:
    rare = [window(number, {10.0: 18, 20.0: 2}) for number in range(400)]
    rare[7] |= {"errors": 1}
    put(database, *rare, *(window(number, QUIET, errors=1) for number in range(500, 510)))
    assert p95(database).p95_ms == pytest.approx(20, rel=0.011)


def test_a_rollout_whose_stable_has_had_no_quiet_time_waits_and_says_for_what(releases: Releases) -> None:
    database = releases.database
    for number in range(60):
        answer(database, 400, 0, NOW - 600 + 5 * number, "1.0", ms=latency_histogram.bucket(3_071.0))
    begin(database, stuck_after_s=30)
    answer(database, 5000, 20, NOW + 5, "1.0", ms=latency_histogram.bucket(3_071.0))
    answer(database, 2000, 4, NOW + 5, "2.0")
    with database.writing() as connection:  # as long as it is not known, no answer is known to be slow or not
        connection.execute(sa.update(TALLIES).values(timed=0))
    releases.run(70)
    one = latest(database)
    assert (one.stable_p95_ms, one.waiting_for, one.step) == (None, "latency", 0)
    assert "latency needs 200 more answers of stable's in quiet times" in one.note
    releases.run(60)
    one = latest(database)
    assert one.stuck_since is not None and "quiet times" in one.stuck_on and "quiet times" in describe(one)
    assert declared(database) == {"1.0": 95, "2.0": 5}
    answer(database, 400, 0, NOW + 100, "1.0")
    answer(database, 2000, 4, NOW + 100, "2.0")
    releases.run(4)
    one = latest(database)
    assert one.stable_p95_ms is not None and one.stable_p95_ms < 2
    assert (one.waiting_for, one.stuck_since, one.step) == ("", None, 1)


def test_the_bound_follows_the_time_limit_of_requests(releases: Releases) -> None:
    answer(releases.database, 400, 0, NOW - 600, "1.0", ms=latency_histogram.bucket(2_000.0))
    begin(releases.database)
    releases.controller._most_p95_ms = 6_000.0  # a tenth of a minute
    supervise(releases.database)
    releases.controller.step(NOW + 1)
    assert latest(releases.database).stable_p95_ms == pytest.approx(2_000, rel=0.011)


def test_a_gate_that_is_not_required_is_not_waited_for() -> None:
    gates = policy().gates.model_dump()
    free = rollout("watching", gates=gates | {"latency": gates["latency"] | {"required": False}})
    for one, waiting_for in ((rollout("watching"), "latency"), (free, "")):
        moved = advance(one, decide(Evidence(), one.policy), NOW + 90, (), fleet(), "latency needs 200 more answers")
        assert moved.rollout.waiting_for == waiting_for
