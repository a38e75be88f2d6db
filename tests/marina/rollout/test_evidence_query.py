"""What the judge is told is what was logged, each request and label once, however late."""

import dataclasses
import json
from typing import Any

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import (
    CLIENTS,
    EVIDENCE,
    LABEL_SETS,
    LABELS,
    PREDICTIONS,
    ROLLOUTS,
    SHADOW_PAIRS,
    TALLIES,
    TRUTHS,
)
from marina.events import latency_histogram
from marina.events.retention import forget
from marina.rollout import evidence_query
from marina.rollout.evidence_query import AGAIN_S, SETTLED_S, EvidenceQuery, due, gather, keep
from marina.rollout.judge.evidence import Arm, Counts, Evidence, Look, Pairs
from marina.rollout.label_evidence import count_flags, observe_alarms, observe_labels
from marina.rollout.policy.schema import DEFAULT, read_policy, with_metric
from marina.rollout.rollouts import Rollout
from marina.rollout.stable_latency import read_stable_latency

START = 1_700_000_000
ROLLOUT = Rollout(
    id=7, model="m", stable="1.0", canary="2.0", phase="watching", step=0, paused=False, policy=read_policy(),
    stable_p95_ms=20.0, started_by="ada", started_at=START - 60.0, watched_since=float(START),
    phase_since=float(START), ended_at=None, note="",
)  # fmt: skip
BY_F1 = dataclasses.replace(ROLLOUT, policy=with_metric(read_policy(DEFAULT.with_name("ab_test.yaml")), "f1"))


def window(start: int, version: str, requests: int, ms: float = 10.0, **changes: Any) -> dict[str, Any]:
    counts = latency_histogram.to_json({latency_histogram.bucket(ms): requests})
    row = {"model": "m", "version": version, "replica": "a", "start": start, "requests": requests, "errors": 0}
    return row | {"latencies": counts} | changes


def tally(version: str, requests: int, errors: int = 0, **changes: Any) -> dict[str, Any]:
    row = {"rollout": 7, "step": 0, "version": version, "sticky": False, "replica": "a", "requests": requests}
    return row | {"errors": errors, "shared": 0, "timed": requests, "slow": 0} | changes


def client(number: int, version: str, requests: int, errors: int = 0, **changes: Any) -> dict[str, Any]:
    row = {"rollout": 7, "step": 0, "version": version, "client": number, "requests": requests, "errors": errors}
    return row | {"shared": 0, "timed": requests, "slow": 0} | changes


def answer(request: str, version: str, label: str | None, time: float = START + 1.0, **changes: Any) -> dict[str, Any]:
    row = {"request_id": request, "model": "m", "version": version, "instance": 0, "time": time, "picked": True}
    return row | {"label": label, "answer": "[]"} | changes


def label(request: str, text: str, time: float = START + 1.0, instance: int = 0) -> dict[str, Any]:
    return {"request_id": request, "instance": instance, "label": text, "time": time}


def pair(
    request: str, stable: str | None, shadow: str | None, time: float = START - 100.0, **changes: Any
) -> dict[str, Any]:
    row = {"request_id": request, "model": "m", "shadow": "2.0", "instance": 0, "stable": "1.0", "time": time}
    return row | {"status": 200 if shadow else 503, "stable_label": stable, "shadow_label": shadow} | changes


def put(database: Database, table: sa.Table, *rows: dict[str, Any]) -> None:
    with database.writing() as connection:
        for row in rows:
            connection.execute(sa.insert(table), row)


def gathered(database: Database, rollout: Rollout = ROLLOUT) -> Evidence:
    with database.reading() as connection:
        return gather(connection, rollout)


def test_requests_of_every_replica_add_up_and_those_of_other_steps_and_rollouts_do_not(database: Database) -> None:
    put(
        database, TALLIES,
        tally("1.0", 90, 2), tally("1.0", 10, replica="b"), tally("1.0", 40, 3, sticky=True),
        tally("2.0", 5, 1, slow=2), tally("2.0", 4, 1, shared=1, sticky=True, timed=3),
        tally("2.0", 50, 50, step=1), tally("2.0", 50, 50, rollout=6),
    )  # fmt: skip
    put(database, EVIDENCE, window(START, "1.0", 1), window(START + 5, "1.0", 1), window(START + 20, "2.0", 1))
    assert gathered(database) == Evidence(
        Arm(140, 5, 140, of_clients=Counts(40, 3, 40)),
        Arm(9, 2, 8, 2, shared=1, of_clients=Counts(4, 1, 3, shared=1)),
        shared_s=5.0,
    )


def test_where_all_requests_are_the_canarys_it_is_compared_with_stable_in_the_step_before(database: Database) -> None:
    put(database, TALLIES, tally("1.0", 90, 2, step=1), tally("2.0", 70, 7, step=1), tally("2.0", 30, 1, step=2))
    put(database, CLIENTS, client(1, "1.0", 20, step=1), client(2, "2.0", 90, step=2), client(1, "2.0", 9, step=1))
    last = dataclasses.replace(ROLLOUT, step=2, phase="probation")
    assert gathered(database, last) == Evidence(Arm(90, 2, 90), Arm(30, 1, 30), step=2)
    put(database, TALLIES, tally("2.0", 40, sticky=True, step=2))
    look = taken(database, last)["errors"]
    assert (look.stable.clients, look.canary.clients) == (1, 1)


def taken(database: Database, rollout: Rollout = ROLLOUT) -> dict[str, Look]:
    with database.reading() as connection:
        return due(connection, rollout, gather(connection, rollout))


def test_looks_are_taken_when_due_and_each_once(database: Database) -> None:
    put(database, TALLIES, tally("1.0", 180, sticky=True), tally("2.0", 19, sticky=True), tally("2.0", 900))
    put(
        database, CLIENTS,
        client(1, "1.0", 100), client(2, "1.0", 80, 1), client(3, "2.0", 19, 2, slow=9), client(4, "2.0", 9, 9, step=1),
    )  # fmt: skip
    assert taken(database) == {}  # a look is due after 200 requests of clients
    put(database, TALLIES, tally("2.0", 1, sticky=True, replica="b"))
    found = taken(database)
    assert found.keys() == {"errors", "latency"}
    assert found["errors"].number == 0 and (found["errors"].canary.wrong, found["errors"].canary.of) == (2, 19)
    assert [count for _, count in found["errors"].stable.fared] == [1, 1]
    assert (found["latency"].canary.wrong, found["latency"].stable.wrong) == (9, 0)
    with database.writing() as connection:
        keep(connection, ROLLOUT, found, START + 9.0)
    assert gathered(database).looks == found and taken(database) == {}
    put(database, TALLIES, tally("1.0", 600, sticky=True, replica="b"))
    later = taken(database)
    assert later["errors"].number == 3  # those between are left out
    with database.writing() as connection:
        keep(connection, ROLLOUT, later, START + 19.0)
    assert gathered(database).looks == later
    assert gathered(database, dataclasses.replace(ROLLOUT, step=1)).looks == {}


def test_a_test_by_errors_looks_at_every_failure(database: Database) -> None:
    policy = read_policy(DEFAULT.with_name("ab_test.yaml"))
    assert policy.test
    policy = policy.model_copy(update={"test": policy.test.model_copy(update={"metric": "errors"})})
    put(database, TALLIES, tally("1.0", 200, sticky=True), tally("2.0", 20, sticky=True))
    put(database, CLIENTS, client(1, "1.0", 200, 1), client(3, "2.0", 20, 1, shared=3))
    found = taken(database, dataclasses.replace(ROLLOUT, policy=policy))
    assert (found["errors"].canary.wrong, found["failures"].canary.wrong) == (1, 4)


def test_labels_of_clients_and_pairs_are_looked_at_for_the_whole_rollout(database: Database) -> None:
    put(database, PREDICTIONS, *(
        answer(f"{version} {number}", version, "cat", client=number % 30)
        for version, count in (("1.0", 190), ("2.0", 20)) for number in range(count)
    ))  # fmt: skip
    put(database, SHADOW_PAIRS, *(pair(f"p{number}", "cat", "dog", client=number % 7) for number in range(30)))
    put(database, LABELS, *(label(f"1.0 {number}", "cat") for number in range(190)))
    put(database, LABELS, *(label(f"2.0 {number}", "dog" if number < 5 else "cat") for number in range(20)))
    put(database, LABELS, *(label(f"p{number}", "cat") for number in range(30)))
    found = taken(database)
    assert found.keys() == {"accuracy", "pairs"}
    assert (found["accuracy"].canary.clients, found["accuracy"].canary.wrong, found["accuracy"].canary.of) == (
        20,
        5,
        20,
    )
    assert (found["accuracy"].stable.clients, found["accuracy"].stable.wrong) == (30, 0)
    assert found["pairs"].canary.fared == ((64, 7),) and found["pairs"].canary.wrong == 30
    with database.writing() as connection:
        keep(connection, ROLLOUT, found, START + 9.0)
    evidence = gathered(database, dataclasses.replace(ROLLOUT, step=1))
    assert evidence.looks == found and evidence.pairs_alone == Pairs()
    assert evidence.canary.of_clients.labelled == 20 and evidence.canary.alone.labelled == 0


def test_labels_count_for_the_answers_that_the_gateway_gave(database: Database) -> None:
    put(
        database, PREDICTIONS,
        answer("a", "1.0", "cat"), answer("b", "1.0", "cat"), answer("c", "2.0", "cat"), answer("d", "2.0", "cat"),
        answer("asked", "2.0", "cat", picked=False), answer("number", "2.0", None),
        answer("before", "2.0", "dog", START - 1.0), answer("unlabelled", "2.0", "cat"),
        answer("d", "2.0", "cat", instance=1), answer("a", "1.0", "cat", model="other"),
    )  # fmt: skip
    names = ("a", "b", "c", "asked", "number", "before")
    put(database, LABELS, *(label(one, "dog" if one == "b" else "cat") for one in names))
    put(database, LABELS, label("d", "dog"), label("d", "cat", instance=1), label("nobody", "cat"))
    assert gathered(database) == Evidence(Arm(labelled=2, right=1), Arm(labelled=3, right=2))


def test_pairs_count_since_the_last_change_of_stable(database: Database) -> None:
    put(
        database, SHADOW_PAIRS,
        pair("worse", "cat", "dog"), pair("better", "dog", "cat"), pair("same", "cat", "cat"),
        pair("wrong", "dog", "cow"), pair("failed", "cat", None), pair("old", "cat", "dog", START - 1000.0),
    )  # fmt: skip
    put(database, LABELS, *(label(one, "cat") for one in ("worse", "better", "same", "wrong", "failed", "old")))
    assert gathered(database).pairs == Pairs(worse=2, same=2, better=1, wrong=1)
    past = {name: getattr(ROLLOUT, name) for one in ROLLOUTS.c if (name := one.name) not in ("id", "policy")}
    past |= {"policy": "", "phase": "done"}
    put(database, ROLLOUTS, past | {"ended_at": START - 50.0})  # a shadow of the same two: its pairs are what counts
    put(database, ROLLOUTS, past | {"stable": "0.9", "canary": "1.0", "ended_at": START - 500.0})
    put(database, ROLLOUTS, past | {"model": "other", "canary": "8.0", "ended_at": START - 50.0})
    assert gathered(database).pairs == Pairs(worse=1, same=2, better=1, wrong=1)


def test_before_the_watch_only_pairs_count(database: Database) -> None:
    put(database, TALLIES, tally("1.0", 90))
    put(database, SHADOW_PAIRS, pair("a", "cat", "dog"))
    put(database, LABELS, label("a", "cat"))
    assert gathered(database, dataclasses.replace(ROLLOUT, watched_since=None)) == Evidence(pairs=Pairs(worse=1))


@pytest.mark.parametrize("pause", [AGAIN_S, 5 * AGAIN_S])
def test_gathering_again_and_again_counts_as_gathering_once(
    pause: float, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_query, "AGAIN_S", pause)
    query, now = EvidenceQuery(), float(START)

    def again() -> Evidence:
        with database.reading() as connection:
            return query.gather(connection, ROLLOUT, now)

    for turn in range(40):
        now += 11.0
        put(database, TALLIES, tally("1.0", 5, turn % 2, replica=f"{turn}"), tally("2.0", 1, replica=f"{turn}"))
        whose = turn if turn % 3 else None
        put(database, PREDICTIONS, answer(f"r{turn}", "2.0", "cat", now, client=whose))
        put(database, SHADOW_PAIRS, pair(f"r{turn}", "cat", "dog", now, client=whose))
        put(database, LABELS, label(f"r{turn}", "cat", now))
        assert again() == gathered(database)

    # What comes late is there at the next whole count: a label's prediction.
    put(database, LABELS, label("late", "cat", START + 2.0))
    put(database, PREDICTIONS, answer("late", "2.0", "cat"))
    now += SETTLED_S + pause
    assert again() == gathered(database)


def test_another_rollout_is_counted_anew(database: Database) -> None:
    put(database, PREDICTIONS, answer("a", "2.0", "cat"), answer("b", "3.0", "cat"))
    put(database, LABELS, label("a", "cat"), label("b", "dog"))
    query = EvidenceQuery()
    with database.reading() as connection:
        for rollout in (ROLLOUT, dataclasses.replace(ROLLOUT, id=8, canary="3.0")):
            assert query.gather(connection, rollout, START + 500.0) == gather(connection, rollout)
            assert query.gather(connection, rollout, START + 1.0) == gather(connection, rollout)  # the clock was set


def test_nothing_that_an_open_rollout_is_judged_by_grows_too_old(database: Database) -> None:
    row = {one.name: getattr(ROLLOUT, one.name) for one in ROLLOUTS.c if one.name != "policy"}
    put(database, ROLLOUTS, row | {"policy": "{}", "paused": True})
    put(database, TALLIES, tally("2.0", 90, 40))
    put(database, EVIDENCE, window(START, "1.0", 900))
    put(database, EVIDENCE, window(START - 120, "1.0", 300))  # stable's p95 is taken from these
    put(database, PREDICTIONS, answer("a", "1.0", "cat"), answer("b", "2.0", "cat"))
    put(database, SHADOW_PAIRS, pair("c", "cat", "dog"))
    put(database, LABELS, label("a", "cat"), label("b", "dog"), label("c", "cat"))
    put(database, PREDICTIONS, answer("now", "1.0", "cat", START + 40 * 86_400.0))  # forty days it stood paused
    before = gathered(database)
    assert (before.canary.errors, before.canary.labelled, before.pairs.worse) == (40, 1, 1)
    for _ in range(3):
        list(forget(database, START + 40 * 86_400.0, retention_days=30, input_retention_days=7))
    assert gathered(database) == before
    with database.reading() as connection:
        assert read_stable_latency(connection, "m", "1.0", START - 3600.0).p95_ms is not None


def test_answers_of_which_parts_are_known_count_by_their_losses(database: Database) -> None:
    def judged(*verdicts: str) -> dict[str, Any]:
        return {"label": None, "answer": json.dumps({"transactions": [{"verdict": one} for one in verdicts]})}

    def truth(request: str, time: float = START + 1.0, **rows: bool) -> dict[str, Any]:
        entries = json.dumps({name[1:]: value for name, value in rows.items()})
        return {"request_id": request, "instance": 0, "kind": "rows", "truth": entries, "time": time}

    put(
        database, PREDICTIONS,
        answer("a", "1.0", **judged("normal", "anomalous")), answer("b", "2.0", **judged("suspicious", "normal")),
        answer("c", "2.0", client=5, **judged("normal", "normal")), answer("d", "2.0", time=START - 9.0, **judged("x")),
        answer("e", "2.0", **judged("normal") | {"picked": False}), answer("f", "3.0", **judged("normal")),
        answer("g", "2.0", **judged("normal") | {"model": "n"}), answer("h", "1.0", **judged("normal")),
    )  # fmt: skip
    put(
        database, TRUTHS,
        truth("a", r0=False, r1=True), truth("b", r0=False, r1=False), truth("c", START + 90.0, r0=True),
        *(truth(request, r0=True) for request in "defg"), truth("h", r7=True),
    )  # fmt: skip
    expected = Evidence(
        Arm(labelled=1, right=1), Arm(labelled=2, right=0.5, of_clients=Counts(labelled=1)), shared_s=0.0
    )
    assert gathered(database) == expected
    query = EvidenceQuery()
    for now in (START + 30.0, START + 100.0, START + 160.0, START + 400.0):
        with database.reading() as connection:
            assert query.gather(connection, ROLLOUT, now) == expected
    with database.reading() as connection:
        observed = list(observe_labels(connection, ROLLOUT, float(START)))
        alarms = list(observe_alarms(connection, BY_F1, float(START)))
        flags = [count_flags(connection, "m", version) for version in ("1.0", "2.0")]
    assert observed == [(True, 1.0, 1, 1)] and alarms == [(True, 1.0, 1, 1)]
    found = gathered(database, BY_F1)
    assert (found.stable.alarms, found.stable.hits) == (0.5, 0.5)
    assert (found.canary.alarms, found.canary.hits, found.canary.of_clients.alarms) == (1.0, 0.0, 0.5)
    assert [(one.alarms, one.hits) for one in flags] == [(0.5, 0.5), (2.0, 1.0)]  # since ever, so "d" is among them


def test_a_test_by_f1_counts_the_second_of_two_labels(database: Database) -> None:
    put(database, LABEL_SETS, *({"model": "m", "version": version, "labels": '["no", "yes"]', "truth": "label"}
        for version in ("1.0", "2.0")))  # fmt: skip
    said = {"1.0": ["yes", "yes", "no", "no"], "2.0": ["yes", "no", "no", "yes"]}
    for version, labels in said.items():
        put(database, PREDICTIONS, *(
            answer(f"{version} {place}", version, one, client=place if version == "2.0" else None)
            for place, one in enumerate(labels)
        ))  # fmt: skip
        put(database, LABELS, *(label(f"{version} {place}", "no" if place == 2 else "yes") for place in range(4)))
    evidence = gathered(database, BY_F1)
    assert (evidence.stable.labelled, evidence.stable.alarms, evidence.stable.hits) == (4, 3, 2)
    assert (evidence.canary.of_clients.alarms, evidence.canary.of_clients.hits) == (3, 2)
    assert gathered(database).stable.alarms == 0  # a test by accuracy needs none
    with database.reading() as connection:
        assert sorted(observe_alarms(connection, BY_F1, float(START))) == [(True, 0, 1, 2), (True, 1, 1, 1)]
        assert count_flags(connection, "m", "1.0") == Counts(labelled=4, alarms=3, hits=2)
