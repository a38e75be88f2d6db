"""The split, by real nginx, without a model server: nothing is open, so each answer is a 503 that names its version."""

import asyncio
import errno
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from scipy import stats

from benchmarks.load_generator import drive, request
from marina.serving.traffic_routes import PARTS, WITHHELD_S, Routes, divide
from tests.marina.serving.front import Front, front


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path, behind=()) as made:
        yield made


def picked(gateway: Front, user: int) -> str:
    answer = gateway.client.post("/predictions/m", headers={"X-User-Id": f"user-{user}"})
    assert answer.status_code == 503
    return answer.headers["x-model-version"]


def test_parts_are_divided_by_weight_and_the_first_version_grows_from_its_start() -> None:
    assert divide([("2", 5), ("1", 95)]) == ["2"] * 50 + ["1"] * 950
    assert divide([("2", 1), ("1", 1), ("0", 0)]) == ["2"] * 500 + ["1"] * 500
    assert divide([("3", 1), ("2", 1), ("1", 1)]) == ["3"] * 333 + ["2"] * 334 + ["1"] * 333
    assert divide([("1", 0.2)]) == ["1"] * PARTS
    assert divide([("1", 0)]) == divide([]) == []


@pytest.mark.parametrize(("model", "version"), [("a b", "1"), ("..", "1"), ("m", "1;"), ("m", ""), ("m", "../x")])
def test_a_name_that_is_no_name_makes_no_folder(tmp_path: Path, model: str, version: str) -> None:
    with pytest.raises(ValueError, match="expected letters"):
        Routes(tmp_path).declare(model, version)


def test_a_hundred_thousand_requests_are_divided_within_binomial_bounds(gateway: Front) -> None:
    versions = {"2.0": 0.05, "1.0": 0.75, "3.0-rc.1": 0.2}
    for version in versions:
        gateway.routes.declare("m", version)
    gateway.routes.share("m", list(versions.items()))
    sent = 0
    while sent < 100_000:
        latencies, _, _ = asyncio.run(drive(str(gateway.client.base_url), [request("/predictions/m", b"{}")], 8, 1.0))
        sent += len(latencies)
    lines: list[str] = []
    end = time.monotonic() + 20
    while len(lines) < sent and time.monotonic() < end:  # nginx writes its lines within the second
        time.sleep(0.5)
        lines = [
            line
            for line in (gateway.settings.log_dir / "access.jsonl").read_text().splitlines()
            if '"model":"m"' in line
        ]
    share = Counter(json.loads(line)["version"] for line in lines)
    assert sum(share.values()) == sent
    for version, expected in versions.items():
        assert stats.binomtest(share[version], sent, expected).pvalue > 1e-4, share


def test_a_client_keeps_its_version_within_a_step_and_the_canary_as_it_grows(gateway: Front) -> None:
    for version in ("1.0", "2.0"):
        gateway.routes.declare("m", version)
    users = range(600)
    before: dict[int, str] = {}
    for share in (0.05, 0.5, 1.0):
        gateway.routes.share("m", [("2.0", share), ("1.0", 1 - share)])
        now = {user: picked(gateway, user) for user in users}
        assert now == {user: picked(gateway, user) for user in users}
        assert all(now[user] == "2.0" for user, version in before.items() if version == "2.0")
        before = now
    gateway.routes.share("m", [("1.0", 1.0)])
    assert {picked(gateway, user) for user in users} == {"1.0"}


def test_a_client_does_not_choose_its_version_by_its_request_id(gateway: Front) -> None:
    for version in ("1.0", "2.0"):
        gateway.routes.declare("m", version)
    gateway.routes.share("m", [("2.0", 0.5), ("1.0", 0.5)])
    answers = [gateway.client.post("/predictions/m", headers={"X-Request-Id": "mine"}) for _ in range(60)]
    assert {answer.headers["x-request-id"] for answer in answers} == {"mine"}
    assert {answer.headers["x-model-version"] for answer in answers} == {"1.0", "2.0"}


def test_a_change_holds_from_the_next_request_and_closes_no_connection(gateway: Front) -> None:
    for version in ("1.0", "2.0"):
        gateway.routes.declare("m", version)
        gateway.routes.share("m", [(version, 1.0)])
        assert gateway.client.post("/predictions/m").headers["x-model-version"] == version
    assert gateway.nginx.process is not None
    master = str(gateway.nginx.process.pid)
    workers = subprocess.run(["ps", "--ppid", master, "-o", "pid="], capture_output=True, check=True)
    assert len(workers.stdout.split()) == 1


def test_versions_come_and_go(gateway: Front) -> None:
    def code(path: str) -> str:
        answer = gateway.client.post(path)
        assert answer.headers.get("x-model-version", "") == ("" if answer.status_code == 404 else "1.0")
        return str(answer.json()["error"]["code"])

    assert code("/predictions/m") == code("/predictions/m/1.0") == "unknown_model"
    gateway.routes.declare("m", "1.0")
    assert (code("/predictions/m"), code("/predictions/m/1.0")) == ("unknown_model", "not_ready")
    gateway.routes.share("m", [("1.0", 1.0)])
    assert code("/predictions/m") == "not_ready"
    gateway.routes.open("m", "1.0")
    assert code("/predictions/m") == "restarting"  # let through, and there is no model server
    gateway.routes.close_all()
    assert code("/predictions/m") == "not_ready"
    gateway.routes.refuse("m", "1.0")
    assert code("/predictions/m") == "model_refused"
    gateway.routes.share("m", [])
    gateway.routes.forget("m", "1.0")
    assert code("/predictions/m") == code("/predictions/m/1.0") == "unknown_model"


def test_a_limit_changes_by_a_rename_and_is_read_at_each_request(gateway: Front) -> None:
    gateway.routes.declare("m", "1.0")
    gateway.routes.share("m", [("1.0", 1.0)])
    gateway.routes.open("m", "1.0")
    for limit in (1024, 4, 64):
        gateway.routes.limit("m", "1.0", limit)
        assert gateway.client.post("/predictions/m").headers["x-model-version"] == "1.0"
        assert (gateway.routes.version_path("m", "1.0") / "..").resolve().name == "1.0"
        assert gateway.routes.version_path("m", "1.0").resolve().name == str(limit)


class Clock:
    """A monotonic clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def routes(tmp_path: Path, clock: Clock) -> Routes:
    return Routes(tmp_path, clock)


def given(folder: Path) -> Counter[str]:
    return Counter(os.readlink(part).rpartition("/")[2] for part in (folder / "parts" / "m").iterdir())


def test_a_withheld_share_is_stables_until_the_declaration_says_so_too(tmp_path: Path, routes: Routes) -> None:
    routes.share("m", [("2.0", 5), ("1.0", 95)])
    routes.withhold("m", "2.0", "1.0")
    assert given(tmp_path) == {"1.0": 1000}
    assert routes.in_force("m") == {"2.0": 0, "1.0": 100}
    assert routes.share("m", [("2.0", 5), ("1.0", 95)]) == {"2.0": 0, "1.0": 100}  # not written yet
    assert given(tmp_path) == {"1.0": 1000}
    routes.share("m", [("1.0", 100)])
    routes.share("m", [("2.0", 5), ("1.0", 95)])  # the next rollout of the same version
    assert given(tmp_path) == {"2.0": 50, "1.0": 950}


def test_a_canary_that_had_everything_gives_it_all_back(tmp_path: Path, routes: Routes) -> None:
    routes.share("m", [("2.0", 100)])
    routes.withhold("m", "2.0", "1.0")
    assert given(tmp_path) == {"1.0": 1000}
    assert routes.in_force("m") == {"2.0": 0, "1.0": 100}


def test_a_retreat_comes_before_the_share_that_it_is_about(tmp_path: Path, routes: Routes) -> None:
    routes.share("m", [("1.0", 100)])
    routes.withhold("m", "2.0", "1.0")
    routes.share("m", [("2.0", 50), ("1.0", 50)])  # declared before, heard of after
    assert given(tmp_path) == {"1.0": 1000}


def test_a_retreat_that_nobody_goes_on_wanting_is_void(tmp_path: Path, routes: Routes, clock: Clock) -> None:
    routes.share("m", [("2.0", 5), ("1.0", 95)])
    for _ in range(5):
        routes.withhold("m", "2.0", "1.0")
        clock.now += WITHHELD_S - 1
        routes.expire_withheld()
        assert given(tmp_path) == {"1.0": 1000}
    clock.now += 2
    assert given(tmp_path) == {"1.0": 1000}  # as long as the declaration is not heard anew, it may have been obeyed
    routes.expire_withheld()
    assert given(tmp_path) == {"2.0": 50, "1.0": 950}


def test_a_link_whose_rename_failed_is_made_the_next_time(
    tmp_path: Path, routes: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(source: Path, place: Path) -> None:
        raise OSError(errno.EIO, "input/output error")

    routes.share("m", [("1.0", 100)])
    monkeypatch.setattr("os.replace", failing)
    with pytest.raises(OSError, match="input/output"):
        routes.share("m", [("2.0", 5), ("1.0", 95)])
    monkeypatch.undo()
    routes.retry_divisions()
    assert given(tmp_path) == {"2.0": 50, "1.0": 950}


def test_one_model_that_cannot_be_divided_keeps_no_other_from_it(
    tmp_path: Path, routes: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.symlink

    def full(target: str, place: Path) -> None:
        if "ill" in target or whole:
            raise OSError(errno.ENOSPC, "no space left")
        link(target, place)

    models, whole = ("ill", "m", "ill2"), True
    monkeypatch.setattr("os.symlink", full)
    for model in models:
        with pytest.raises(OSError, match="no space"):
            routes.share(model, [("1.0", 100)])
    whole = False
    with pytest.raises(OSError, match="no space"):
        routes.retry_divisions()
    assert given(tmp_path) == {"1.0": 1000}


def test_what_could_not_be_divided_to_the_end_is_divided_again(
    tmp_path: Path, routes: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes.share("m", [("2.0", 5), ("1.0", 95)])
    left, link = [30], os.symlink

    def full(target: str, place: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "no space left")
        link(target, place)

    monkeypatch.setattr("os.symlink", full)
    with pytest.raises(OSError, match="no space"):
        routes.withhold("m", "2.0", "1.0")
    assert given(tmp_path) == {"2.0": 20, "1.0": 980}
    monkeypatch.undo()
    routes.retry_divisions()
    assert given(tmp_path) == {"1.0": 1000}
