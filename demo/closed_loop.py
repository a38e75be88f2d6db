"""Drift, alarm, decision, training, canary, promotion: the whole loop on a running server, one command a step.

    python -m demo.closed_loop
    python -m demo.closed_loop --per-s 40 --out somewhere

A small model of a catalogue is trained and served. Then a new shop's goods come: in other languages, and without
descriptions. The detectors raise an alarm; a person decides to retrain (scripts/alerts.py), the family is trained on
rows that have such goods (scripts/auto_train.py), the new version is compared with the one that serves on held-out rows
(scripts/auto_promote.py), and takes over step by step, by what users' requests show. The server is the one of
production, on free ports, with a database of its own; nothing of it is left. A table says when each step was over.
Exit status: 0 the new version serves, and no request failed; 1 otherwise.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from rich.console import Console

from demo.scenario import Rehearsal, RehearsalError
from demo.simulated_clients import Clients, Question
from demo.versions import COLUMNS, EASY, Version, build_all, products_like
from marina.database.connection import Database
from marina.database.tables import ALERTS
from marina.releases import ledger
from marina.rollout import rollouts
from marina.serving.temporary_server import running
from marina.settings import ROOT, read_settings
from training.catalog.recipe import MODEL

if TYPE_CHECKING:
    import pandas as pd

POLICY = ROOT / "demo" / "policy.yaml"
KNOWN, STRANGE, HELD_OUT = 2000, 2500, 800
"""Products of the first training; those of the new shop that the second one has too; those that none has."""

STRANGERS = replace(EASY, products=8000, seed=1, foreign=1.0, bare=1.0)
QUIET_S = 45.0
LIMIT_S = 300.0
SESSIONS = 5000
LOOK_S = 0.5


@dataclass
class Times:
    """When each step was over."""

    report: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)
    drift: float = 0.0
    rows: list[tuple[str, str, float, float]] = field(default_factory=list)
    _last: float = 0.0

    def step(self, what: str, command: str = "") -> None:
        """Say that a step is over."""
        now = time.monotonic() - self.began
        self.rows.append((what, command, now - self._last, now - self.drift if self.drift else 0.0))
        self._last = now
        self.report(f"{now:5.0f} s  {what}")

    def markdown(self) -> str:
        """Return the steps since the drift began as a table."""
        lines = ["| step | command | took | since the drift |", "|---|---|---|---|"]
        lines += [f"| {what} | {f'`{command}`' if command else ''} | {took:.0f} s | {since:.0f} s |"
                  for what, command, took, since in self.rows if since > 0]  # fmt: skip
        return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-s", type=float, default=60.0, help="requests per second (default: %(default)s)")
    parser.add_argument("--instances", type=int, default=5, help="products in each request (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="also write the table there, as closed_loop.md")
    options = parser.parse_args()
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # a server of yours learns nothing of this
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(options)
    except KeyboardInterrupt:
        return 130
    except RehearsalError as error:
        print(error, file=sys.stderr)
        return 1


def run(options: argparse.Namespace) -> int:
    console = Console(highlight=False, soft_wrap=True)

    def report(line: str) -> None:
        console.print(line, markup=False)

    with tempfile.TemporaryDirectory(prefix="marina-loop-", ignore_cleanup_errors=True) as folder:
        own = {
            "state_dir": f"{folder}/state", "archive_store": f"{folder}/store",
            "database_url": f"sqlite:///{folder}/state/marina.db", "inference_tokens": "[]",
            "signers": "", "unsigned": "refuse", "notify_urls": "[]",
        }  # fmt: skip
        os.environ |= {f"MARINA_{name.upper()}": value for name, value in own.items()}
        settings, times = read_settings(), Times(report)
        goods = Goods.make(Path(folder))
        first = Version("1.0", "trained on the first shop's goods", replace(EASY, products=KNOWN))
        (built,) = build_all(settings.state_dir, settings.archive_store, [first])
        with running([built.built.path], own) as server:
            times.step("1.0 serves")
            usual = Clients(server.url, MODEL, questions(goods.usual, options.instances), options.per_s, SESSIONS)
            usual.start()
            time.sleep(QUIET_S)
            usual.stop()
            database = Database(settings.database)
            strange = Clients(
                server.url, MODEL, questions(goods.users, options.instances), options.per_s, SESSIONS, seed=1
            )
            times.step("users asked about usual goods")
            times.drift = time.monotonic() - times.began
            strange.start()
            try:
                live = close(Rehearsal(database, strange, report, lambda _: None), goods, times)
            finally:
                strange.stop()
            with database.reading() as connection:
                faults = ledger.verify(connection)
                entries = [f"{one.who}: {one.action}" for one in ledger.entries(connection, MODEL)]
            database.close()
    failed = usual.failures() + strange.failures()
    report("\n" + times.markdown())
    report(f"\nledger ({'verified' if not faults else faults[0]}): " + "; ".join(entries))
    report(f"{len(usual.seen) + len(strange.seen):,} requests, {len(failed)} failed; live: {live}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "closed_loop.md").write_text(times.markdown() + "\n")
    return 0 if live == "2.0" and not failed and not faults else 1


def close(rehearsal: Rehearsal, goods: "Goods", times: Times) -> str:
    """Go from an alarm to a new version, by a command for each step of a person; return what is live then."""
    alert = until(lambda: _alarm(rehearsal.database), "no alarm was raised")
    times.step(f"alarm {alert} (marina.monitoring)", "python scripts/alerts.py list")
    why = "a new shop's goods"
    rehearsal.command("alerts.py", "decide", str(alert), "--action", "retrain", "--why", why)
    times.step("a person decides", f"python scripts/alerts.py decide {alert} --action retrain --why …")
    rehearsal.command("auto_train.py", "--family", MODEL, "--data", str(goods.grown), "--reason", "drift")
    times.step(
        "2.0 is trained and registered", f"python scripts/auto_train.py --family {MODEL} --data … --reason drift"
    )
    said = rehearsal.command("auto_promote.py", "--model", MODEL, "--version", "2.0", "--data", str(goods.held_out),
                             "--policy", str(POLICY))  # fmt: skip
    times.report(said.splitlines()[0])
    times.step("2.0 is better on held-out rows; its canary begins",
               f"python scripts/auto_promote.py --model {MODEL} --version 2.0 --data …")  # fmt: skip
    until(lambda: _ended(rehearsal.database), "the rollout was not decided")
    times.step("2.0 serves alone", "")
    with rehearsal.database.reading() as connection:
        return rollouts.stable_of(connection, MODEL)


def until(found: "Callable[[], int | str | None]", otherwise: str) -> int | str:
    """Wait for something; raise a `RehearsalError` where it does not come."""
    ends = time.monotonic() + LIMIT_S
    while time.monotonic() < ends:
        if value := found():
            return value
        time.sleep(LOOK_S)
    raise RehearsalError(f"{otherwise} within {LIMIT_S:g} s")


@dataclass(frozen=True)
class Goods:
    """Products: what users ask about before and after the drift, and the files of training and comparison."""

    usual: "pd.DataFrame"
    users: "pd.DataFrame"
    grown: Path
    held_out: Path

    @classmethod
    def make(cls, folder: Path) -> "Goods":
        """Generate them; what users ask about and what is held out is of families that no training has."""
        import pandas as pd

        known, strange = products_like(replace(EASY, products=2 * KNOWN)), products_like(STRANGERS)
        strange = strange[strange["description"] == ""]
        mine, other = strange[strange["family"] % 2 == 0], strange[strange["family"] % 2 == 1]
        first, later = known.head(KNOWN), known.iloc[KNOWN:]
        usual = later[~later["family"].isin(set(first["family"]))]
        grown, held_out = folder / "grown.csv", folder / "held_out.csv"
        pd.concat([first, mine.head(STRANGE)])[COLUMNS].to_csv(grown, index=False)
        other.head(HELD_OUT)[COLUMNS].to_csv(held_out, index=False)
        return cls(usual, other.iloc[HELD_OUT:], grown, held_out)


def questions(goods: "pd.DataFrame", instances: int) -> list[Question]:
    """Return requests about that many products each."""
    import json

    found = []
    for start in range(0, len(goods) - instances + 1, instances):
        some = goods.iloc[start : start + instances]
        products = some[["designation", "description"]].to_dict("records")
        found.append(Question(json.dumps({"instances": products, "top_k": 1}).encode(), some["prdtypecode"].tolist()))
    return found


def _alarm(database: Database) -> int | None:
    chosen = sa.select(ALERTS.c.id).where(ALERTS.c.model == MODEL, ALERTS.c.kind == "drift")
    with database.reading() as connection:
        return connection.execute(chosen.order_by(ALERTS.c.id).limit(1)).scalar()


def _ended(database: Database) -> str | None:
    with database.reading() as connection:
        one = rollouts.last_rollout_of(connection, MODEL)
    return one.phase if one is not None and one.ended_at is not None else None


if __name__ == "__main__":
    sys.exit(main())
