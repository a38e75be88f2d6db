"""Shadow traffic to a server on a unix socket that speaks as TorchServe does."""

import contextlib
import http.server
import json
import os
import random
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import POSITIONS, PREDICTIONS, SHADOW_PAIRS
from marina.rollout.shadow import pending_inputs, replay_client
from marina.rollout.shadow.replay_client import Input, Replay
from marina.rollout.shadow.service import BATCH, Shadow
from tests.marina.rollout.logged import MODEL, STARTED, answered, rows, shadowing
from tests.serving import ROOT


class Seen(NamedTuple):
    path: str
    headers: Mapping[str, str]
    at: float


class Silent(socketserver.ThreadingUnixStreamServer):
    """Answers every colour with blue, or as the body asks."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Answer)
        self.path = path
        self.seen: list[Seen] = []
        self.running = self.most = 0
        self.away = False
        self.lock = threading.Lock()

    def handle_error(self, *_: Any) -> None:
        """Mind nobody who hangs up: some tests kill who asks."""


class _Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Silent

    def do_POST(self) -> None:
        wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append(Seen(self.path, dict(self.headers.items()), time.monotonic()))
            self.server.running += 1
            self.server.most = max(self.server.most, self.server.running)
        time.sleep(wish.get("sleep_s", 0.002))
        with self.server.lock:
            self.server.running -= 1
        status = 503 if self.server.away else wish.get("status", 200)
        one = [{"label": "blue", "probability": 0.75}]
        said = wish.get("predictions", [one] * len(wish["instances"]) if "instances" in wish else one)
        more = {"errors": wish["errors"]} if "errors" in wish else {}
        body = json.dumps({"predictions": said, "serving_ms": wish.get("serving_ms", 2.5), **more}).encode()
        with contextlib.suppress(BrokenPipeError):  # who asked may have given up
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def address_string(self) -> str:
        return "a unix socket"

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Silent]:
    with Silent(tmp_path / "inference.sock") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def shadow(silent: Silent, database: Database) -> Iterator[Shadow]:
    sender = Replay(silent.path)
    yield Shadow(database, "here", sender)
    sender.close()


def test_a_kept_request_is_asked_again_and_both_answers_stand_side_by_side(
    shadow: Shadow, silent: Silent, database: Database
) -> None:
    shadowing(database)
    answered(database, "a", label="red")
    assert shadow.step() == 1
    assert rows(database, SHADOW_PAIRS) == [
        {
            "request_id": "a",
            "model": MODEL,
            "shadow": "2.0",
            "instance": 0,
            "stable": "1.0",
            "time": STARTED + 1,
            "status": 200,
            "stable_label": "red",
            "shadow_label": "blue",
            "stable_confidence": 0.9,
            "shadow_confidence": 0.75,
            "stable_value": None,
            "shadow_value": None,
            "stable_ms": 1.5,
            "shadow_ms": 2.5,
            "client": None,
        }
    ]
    (one,) = silent.seen
    assert one.path == f"/predictions/{MODEL}/2.0"
    assert (one.headers["X-Request-Id"], one.headers["X-Shadow"]) == ("a", "1")
    assert shadow.step() == 0


def test_many_instances_are_paired_one_by_one(shadow: Shadow, database: Database) -> None:
    shadowing(database)
    answered(database, "a", labels=("red", "blue", "green"), body={"instances": [{}, {}, {}]})
    short = {"instances": [{}, {}], "predictions": [[{"label": "blue", "probability": 1}]]}
    answered(database, "b", labels=("red", "blue"), body=short)
    shadow.step()
    pairs = [(row["instance"], row["stable_label"], row["shadow_label"]) for row in rows(database, SHADOW_PAIRS)]
    assert pairs == [
        (0, "red", "blue"),
        (1, "blue", "blue"),
        (2, "green", "blue"),
        (0, "red", "blue"),
        (1, "blue", None),
    ]


def test_answers_in_part_are_paired_by_place_and_what_only_the_shadow_lacks_is_its_fault(
    shadow: Shadow, silent: Silent, database: Database
) -> None:
    shadowing(database)
    blue, errors = [{"label": "blue", "probability": 1}], [{"index": 0, "status": 422}, {"index": 2, "status": 500}]
    body = {"instances": [{}, {}, {}], "predictions": [None, blue, None], "errors": errors}
    answered(database, "a", labels=("red", "red", "red"), body=body)
    with database.writing() as connection:  # the user's was in part as well, by its first instance
        gone = (PREDICTIONS.c.request_id == "a") & (PREDICTIONS.c.instance == 0)
        connection.execute(sa.delete(PREDICTIONS).where(gone))
    assert shadow.step() == 1
    assert silent.seen[0].headers["X-Partial"] == "true"
    found = [(row["instance"], row["status"], row["shadow_label"]) for row in rows(database, SHADOW_PAIRS)]
    assert found == [(1, 200, "blue"), (2, 500, None)]
    assert shadow.step() == 0


def test_what_was_asked_says_whether_answers_are_a_list(shadow: Shadow, database: Database) -> None:
    shadowing(database)
    one = {"label": "blue", "probability": 0.5}
    answered(database, "a list of one", body={"instances": [{}], "predictions": [one]})
    answered(database, "one that is a list", body={"predictions": [[one]]})
    answered(database, "one", body={"predictions": [one]})
    arrays: dict[str, Any] = {"content_type": "application/x-npy"}
    answered(database, "array", body={"predictions": [one]}, **arrays)
    answered(database, "array of one row", body={"predictions": [[one]]}, **arrays)
    assert shadow.step() == 5
    found = {row["request_id"]: row["shadow_label"] for row in rows(database, SHADOW_PAIRS)}
    assert found == {
        "a list of one": "blue",
        "one that is a list": None,
        "one": "blue",
        "array": "blue",
        "array of one row": "blue",
    }


def test_answers_that_no_database_takes_stop_no_shadow(shadow: Shadow, database: Database) -> None:
    shadowing(database)
    answered(database, "a", body={"predictions": [{"label": "\0" + "x" * 300, "probability": 0.5}]})
    answered(database, "b", body={"predictions": [{"label": "blue"}], "serving_ms": "long"})
    assert shadow.step() == 2
    found = [(row["shadow_label"], row["shadow_ms"]) for row in rows(database, SHADOW_PAIRS)]
    assert found == [("x" * 256, 2.5), ("blue", None)]


def test_a_failure_is_a_pair_without_a_label(shadow: Shadow, database: Database) -> None:
    shadowing(database)
    answered(database, "a", body={"status": 590})
    answered(database, "b", body={"predictions": "nonsense"})
    answered(database, "c", labels=("red", "red"), body={"instances": [{}, {}], "status": 422})
    assert shadow.step() == 3
    found = [(row["request_id"], row["status"], row["shadow_label"]) for row in rows(database, SHADOW_PAIRS)]
    assert found == [("a", 590, None), ("b", 200, None), ("c", 422, None), ("c", 422, None)]


def test_an_answer_that_does_not_come_is_a_failure(
    shadow: Shadow, database: Database, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_client, "TIMEOUT_S", 0.2)
    sender = Replay(silent.path)
    shadowing(database)
    answered(database, "a", body={"sleep_s": 0.6})
    assert Shadow(database, "here", sender).step() == 1
    sender.close()
    assert [row["status"] for row in rows(database, SHADOW_PAIRS)] == [504]


def test_what_a_version_that_is_away_did_not_answer_waits(shadow: Shadow, silent: Silent, database: Database) -> None:
    shadowing(database)
    answered(database, "a")
    silent.away = True
    assert shadow.step() == 0
    assert rows(database, SHADOW_PAIRS) == []
    silent.away = False
    assert shadow.step() == 1


def test_without_torchserve_everything_waits(database: Database, tmp_path: Path) -> None:
    sender = Replay(tmp_path / "nobody.sock")
    shadowing(database)
    answered(database, "a")
    assert Shadow(database, "here", sender).step() == 0
    sender.close()
    assert rows(database, SHADOW_PAIRS) == []


@pytest.mark.parametrize("wrong", ["loading", "another replica", "ended", "deploying"])
def test_only_a_version_that_is_shadowed_and_ready_here_is_asked(
    wrong: str, shadow: Shadow, silent: Silent, database: Database
) -> None:
    if wrong == "ended":
        answered(database, "a")
        assert shadow.step() == 0
        return
    shadowing(
        database,
        phase="deploying" if wrong == "deploying" else "shadow",
        state="loading" if wrong == "loading" else "ready",
        replica="there" if wrong == "another replica" else "here",
    )
    answered(database, "a")
    assert shadow.step() == 0
    assert silent.seen == []


def test_of_two_replicas_one_replays(silent: Silent, database: Database) -> None:
    for replica in ("here", "there"):
        shadowing(database, replica=replica)
    answered(database, "a")
    sender = Replay(silent.path)
    assert Shadow(database, "there", sender).step() == 0
    assert Shadow(database, "here", sender).step() == 1
    sender.close()


def test_a_watched_canary_answers_stables_requests_too(shadow: Shadow, database: Database) -> None:
    shadowing(database, phase="watching")
    answered(database, "a")
    answered(database, "its own", version="2.0")
    assert shadow.step() == 1
    assert [row["request_id"] for row in rows(database, SHADOW_PAIRS)] == ["a"]


def test_older_inputs_than_the_shadow_are_left_alone(shadow: Shadow, database: Database) -> None:
    shadowing(database)
    answered(database, "before", at=STARTED - 1)
    answered(database, "after", at=STARTED + 1)
    assert shadow.step() == 1


def test_an_input_that_comes_late_is_found(shadow: Shadow, database: Database) -> None:
    shadowing(database)
    answered(database, "a", at=STARTED + 100)
    assert shadow.step() == 1
    answered(database, "late", at=STARTED + 100 - pending_inputs.LATE_S + 1)
    assert shadow.step() == 1


def test_of_too_many_the_oldest_are_left_out_for_good(
    silent: Silent, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_inputs, "LONGEST", 10)
    shadowing(database)
    for number in range(25):
        answered(database, f"{number:02}", at=STARTED + number + 1)
    told: list[str] = []
    sender = Replay(silent.path)
    shadow = Shadow(database, "here", sender, told.append)
    while shadow.step():
        pass
    sender.close()
    assert [row["request_id"] for row in rows(database, SHADOW_PAIRS)] == [f"{number:02}" for number in range(15, 25)]
    assert len(told) == 1


def test_a_shadow_of_a_deployment_with_augmentation_is_asked_with_it(silent: Silent) -> None:
    for augmented in ((), (MODEL,), ("another",)):
        sender = Replay(silent.path, augmented=augmented)
        sender.send(MODEL, "2.0", [Input("one", 0.0, "application/json", b"{}")])
        sender.close()
    assert [one.headers.get("X-TTA") for one in silent.seen] == [None, "true", None]


def test_the_rate_and_the_number_at_once_are_bounded(silent: Silent) -> None:
    sender = Replay(silent.path, per_second=100, at_once=3)
    inputs = [Input(f"{number}", 0.0, "application/json", b'{"sleep_s": 0.05}') for number in range(30)]
    assert all(one is not None and one.status == 200 for one in sender.send(MODEL, "2.0", inputs))
    sender.close()
    assert silent.most == 3
    fast = Replay(silent.path, per_second=100, at_once=4)
    fast.send(MODEL, "2.0", [Input(f"{number}", 0.0, "application/json", b"{}") for number in range(30)])
    fast.close()
    times = [one.at for one in silent.seen[30:]]
    assert times[-1] - times[0] >= 0.27  # the eighth four, seven times 40 ms after the first


@pytest.mark.timeout(120)
def test_killed_at_any_moment_it_counts_every_request_once(
    silent: Silent, database: Database, database_url: str, tmp_path: Path
) -> None:
    shadowing(database)
    for number in range(3 * BATCH):
        answered(database, f"{number}", at=STARTED + number)
    env = os.environ | {
        "MARINA_RUN_DIR": str(tmp_path),
        "MARINA_DATABASE_URL": database_url,
        "MARINA_REPLICA": "here",
        "MARINA_STATE_DIR": str(tmp_path),
    }
    chance = random.Random(0)
    kills, end = 0, time.monotonic() + 100
    while len(rows(database, SHADOW_PAIRS)) < 3 * BATCH - 1 and time.monotonic() < end:
        asked = len(silent.seen)
        process = subprocess.Popen([sys.executable, "-m", "marina.rollout.shadow.service"], cwd=ROOT, env=env)
        while len(silent.seen) == asked and len(rows(database, SHADOW_PAIRS)) < 3 * BATCH - 1:
            shadowing(database)  # the supervisor's word is fresh
            time.sleep(0.1)
        time.sleep(chance.random() * 2)  # a batch takes a second
        process.kill()
        assert process.wait() == -signal.SIGKILL
        kills += 1
    pairs = rows(database, SHADOW_PAIRS)
    assert {row["request_id"] for row in pairs} == {f"{number}" for number in range(1, 3 * BATCH)}
    assert kills > 1
    assert len(rows(database, POSITIONS)) == 1
