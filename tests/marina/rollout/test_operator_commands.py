"""What a person orders is done, once, and no further."""

from pathlib import Path

import pytest

from marina.releases.declarations import Declared
from marina.rollout import operator_commands
from marina.rollout.policy.schema import TrafficStep
from marina.rollout.rollouts import RolloutError
from tests.marina.rollout.releases import Releases, actions, answer, begin, candidate, declared, good, latest, policy


def test_orders_are_obeyed(releases: Releases) -> None:
    database = releases.database
    begin(database)
    good(database)
    releases.run(3)
    operator_commands.pause(database, "sums", "ben", releases.now)
    releases.run(70)
    assert latest(database).step == 0
    operator_commands.resume(database, "sums", "ben", releases.now)
    releases.run(2)
    assert latest(database).step == 1
    operator_commands.abort(database, "sums", "ben", "lunch", releases.now)
    assert declared(database) == {"1.0": 100, "2.0": 0}
    releases.run(2)
    assert latest(database).phase == "aborted" and "lunch" in latest(database).note
    assert actions(database)[-5:] == ["pause", "resume", "watching", "abort", "aborted"]


def test_an_order_about_a_rollout_that_has_ended_does_not_reach_the_next(releases: Releases) -> None:
    database = releases.database
    begin(database)
    ended = latest(database).id
    operator_commands.abort(database, "sums", "ben", "lunch", releases.now, ended)
    releases.run(2)
    begin(database, approvals=1)
    for order in (operator_commands.pause, operator_commands.resume, operator_commands.approve):
        with pytest.raises(RolloutError, match=f"rollout {ended} has ended"):
            order(database, "sums", "ben", releases.now, number=ended)
    with pytest.raises(RolloutError, match=f"rollout {ended} has ended"):
        operator_commands.abort(database, "sums", "ben", "late", releases.now, ended)
    with pytest.raises(RolloutError, match=f"rollout {ended} has ended"):
        undo(releases, number=ended)
    operator_commands.pause(database, "sums", "ben", releases.now, number=latest(database).id)
    assert latest(database).paused


def test_all_traffic_waits_for_two_others(releases: Releases) -> None:
    database = releases.database
    begin(database, approvals=2)
    good(database)
    with pytest.raises(RolloutError, match="ann started it"):
        operator_commands.approve(database, "sums", "ann", releases.now)
    releases.run(140)
    assert latest(database).phase == "watching" and "2 people" in latest(database).note
    assert operator_commands.approve(database, "sums", "ben", releases.now) == 1
    with pytest.raises(RolloutError, match="approved already"):
        operator_commands.approve(database, "sums", "ben", releases.now)
    assert operator_commands.approve(database, "sums", "cem", releases.now) == 0
    releases.run(2)
    assert latest(database).phase == "probation"


def test_a_release_is_undone_by_loading_the_version_before(releases: Releases) -> None:
    database = releases.database
    begin(database)
    good(database)
    releases.run(200)
    assert declared(database) == {"2.0": 100}
    found: list[str] = []

    def find(model: str, version: str, archive: Path, sha256: str) -> Declared:
        found.extend((str(archive), sha256))
        return candidate(model, version)

    operator_commands.roll_back(database, "sums", "ben", "bad", releases.now, find, policy())
    releases.run(4)
    assert declared(database) == {"1.0": 100} and latest(database).phase == "done"
    assert found == ["/archives/sums-1.0.mar", "1" * 64]


def undo(releases: Releases, to: str | None = None, number: int | None = None) -> None:
    def find(model: str, version: str, *_: object) -> Declared:
        return candidate(model, version)

    operator_commands.roll_back(releases.database, "sums", "ben", "", releases.now, find, policy(), to, number)


def release(releases: Releases, version: str) -> None:
    begin(releases.database, version=version, now=releases.now, steps=[TrafficStep(share=1, at_least_s=0)])
    releases.run(4)
    assert declared(releases.database) == {version: 100}


def test_what_was_rolled_back_by_the_judge_is_not_rolled_back_further(releases: Releases) -> None:
    release(releases, "2.0")
    begin(releases.database, version="3.0", now=releases.now)
    releases.run(3)
    answer(releases.database, 2000, 100, int(releases.now) + 10, "3.0")
    releases.run(6)
    assert latest(releases.database).phase == "rolled back"
    with pytest.raises(RolloutError, match=r"ended as rolled back.*--to VERSION"):
        undo(releases)
    assert declared(releases.database) == {"2.0": 100}
    undo(releases, to="1.0")
    releases.run(4)
    assert declared(releases.database) == {"1.0": 100}


def test_a_rollback_that_is_ordered_twice_is_done_once(releases: Releases) -> None:
    release(releases, "2.0")
    undo(releases, number=latest(releases.database).id)
    for _ in range(4):  # while it is on its way, and when it is done
        with pytest.raises(RolloutError, match="was a manual rollback"):
            undo(releases)
        releases.run(2)
    assert latest(releases.database).phase == "done" and declared(releases.database) == {"1.0": 100}
    with pytest.raises(RolloutError, match=r"no version 9\.0 that served"):
        undo(releases, to="9.0")
    with pytest.raises(RolloutError, match="served already"):
        undo(releases, to="1.0")
    release(releases, "3.0")
    undo(releases)  # a new release begins anew
    assert latest(releases.database).canary == "1.0"


def test_a_rollback_on_its_way_is_called_off_by_name(releases: Releases) -> None:
    release(releases, "2.0")
    undo(releases)
    undo(releases, to="2.0")
    releases.run(2)
    assert latest(releases.database).phase == "aborted" and declared(releases.database) == {"2.0": 100}


def test_a_rolled_back_canary_is_not_the_version_before(releases: Releases) -> None:
    release(releases, "2.0")
    begin(releases.database, version="3.0", now=releases.now)
    operator_commands.abort(releases.database, "sums", "ben", "", releases.now)
    releases.run(4)
    release(releases, "4.0")
    undo(releases)
    assert latest(releases.database).canary == "2.0"
