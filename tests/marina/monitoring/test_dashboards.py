"""The committed dashboards are those that the code writes, and Prometheus takes every query."""

import contextlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from marina.monitoring.dashboards import FOLDER, dashboards, queries, text
from marina.serving.temporary_server import free_ports
from tests.marina.monitoring.programs import program

MADE = dashboards()
ABSENT = object()


def as_grafana_has_it(dashboard: dict[str, Any]) -> Any:
    """Return a dashboard as Grafana's own types read and write it: what they do not know is lost."""
    return json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))


def lost(sent: Any, kept: Any, place: str = "") -> list[str]:
    """Return the places of what was sent and not kept."""
    if isinstance(sent, dict):
        places = [(name, kept.get(name, ABSENT) if isinstance(kept, dict) else ABSENT) for name in sent]
        return [one for name, there in places for one in lost(sent[name], there, f"{place}.{name}")]
    if isinstance(sent, list) and isinstance(kept, list) and len(sent) == len(kept):
        return [one for k, pair in enumerate(zip(sent, kept, strict=True)) for one in lost(*pair, f"{place}[{k}]")]
    return [] if sent == kept else [place]


@pytest.mark.parametrize("name", MADE)
def test_what_is_committed_is_what_is_written_and_fits_the_schema(name: str) -> None:
    assert lost(MADE[name], as_grafana_has_it(MADE[name])) == []
    assert (FOLDER / f"{name}.json").read_text() == text(MADE[name]), "make dashboards"


def test_a_misspelt_field_is_found() -> None:
    wrong = dashboards()["system"]
    wrong["panels"][0]["gridPoz"] = {"x": 1}
    assert lost(wrong, as_grafana_has_it(wrong)) == [".panels[0].gridPoz.x"]


@pytest.mark.parametrize("name", MADE)
def test_no_panel_lies_over_another(name: str) -> None:
    taken = [
        (x, y)
        for panel in MADE[name]["panels"]
        for at in (panel["gridPos"],)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(taken)) == len(taken) and max(x for x, _ in taken) < 24


def test_prometheus_takes_every_query(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text("global: {}\n")
    [port] = free_ports(1)
    command = [
        program("prometheus"), f"--config.file={tmp_path}/p.yml", f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/-/ready", timeout=5).status_code == 200:
                    break
            assert time.monotonic() < end
            time.sleep(0.1)
        with httpx.Client(base_url=url, timeout=30) as client:
            for name, dashboard in MADE.items():
                for query in queries(dashboard):
                    answer = client.get("/api/v1/query", params={"query": query}).json()
                    assert answer["status"] == "success", (name, query, answer)
    finally:
        process.terminate()
        process.wait(20)
