"""A week of the loop that is killed at random moments, and started again until it is done: the end is the same.

    python -m demo.kills
    python -m demo.kills --kills 3 --seed 7

`scripts/loop.py daemon` loads, trains and decides a small catalogue's week by the real commands, with a real MLflow,
database and ledger in a folder that is removed. Meanwhile SIGKILL meets the daemon, the command of the step that runs,
or both at once, as when a machine is lost. A killed command is a failed attempt, of which a step has three: no step's
command is killed more than twice. A week that is done before all kills were made is followed by another one, from the
same beginning. After each week: every row was loaded once, there is one training, one version and one promotion, and
the ledger verifies. Exit status: 0 it is so, 1 it is not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
import sqlalchemy as sa
from rich.console import Console

from archives.errors import MarinaError
from archives.registry import Registry
from demo.year_plan import BOUND, FIRST_SHARE, Plan
from marina.database.connection import Database
from marina.database.loop_tables import LOOP_STEPS, TRAININGS
from marina.database.raw_tables import RAW_RELEASES, RAW_ROWS
from marina.database.tables import DECLARATIONS
from marina.monitoring.loop_metrics import LAST_STEP
from marina.pipelines import looks, step_list, steps
from marina.pipelines.schedule import parse
from marina.processes.children import end_with_parent
from marina.releases import ledger
from marina.settings import ROOT

FAMILY: Final = "catalog"
LOOK_S: Final = 0.2
LOOP: Final = "import sys; from scripts import loop; loop.LOOK_S = 1.0; sys.exit(loop.main(sys.argv[1:]))"
"""The command `scripts/loop.py`, which looks each second: ten would be waited for after each kill."""

LIMIT_S: Final = 1200.0
"""Of a week, its kills included."""

ZONE: Final = "Etc/UTC"
DAILY: Final = time.strftime("%H:%M", time.gmtime())
"""The next one is due in a day."""

IN_STEP: Final = 0.8
"""The share of kills that wait until a step runs; the others meet a start as well."""

MOST_OF_STEP: Final = 2


class KillsError(MarinaError):
    """A week did not come to its end; the message is what the loop wrote."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of their moments and victims (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=200, help="products (default: %(default)s)")
    parser.add_argument("--span-s", type=float, default=15.0, help="most between two kills (default: %(default)s)")
    options = parser.parse_args()
    console, began = Console(highlight=False, soft_wrap=True), time.monotonic()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="marina-kills-", ignore_cleanup_errors=True) as folder:
        try:
            victims, faults = run(Path(folder), options.kills, options.rows, options.span_s, chance, console)
        except KillsError as error:
            console.print(str(error), style="red", markup=False)
            return 1
    counts = ", ".join(f"{count} {name}" for name, count in sorted(victims.items()))
    console.print(
        f"{victims.total()} kills ({counts}) in {time.monotonic() - began:.0f} s; {faults or 'no'} checks failed"
    )
    return 1 if faults else 0


def run(
    folder: Path, kills: int, rows: int, span_s: float, chance: random.Random, console: Console
) -> tuple[Counter[str], int]:
    """Let weeks be killed until so many kills were made; return what was killed, and how many checks failed."""
    plan = Plan.make(5, rows, rows, 0, folder)
    begun = Week(folder / "begun", plan, chance, span_s)
    begun.call("load_data.py", "import", "--family", FAMILY, str(plan.file(0)))
    begun.have_the_day_done()
    victims: Counter[str] = Counter()
    faults, number = 0, 0
    while victims.total() < kills:
        number += 1
        week = Week(folder / f"week_{number}", plan, chance, span_s)
        shutil.copytree(begun.folder, week.folder)
        mine = week.run(kills - victims.total(), lambda what: console.print(f"  {what}", markup=False))
        victims += mine
        for what, holds, found in week.audit():
            faults += not holds
            console.print(f"{'ok' if holds else 'NOT'}  week {number}, {what}: {found}", markup=False)
        shutil.rmtree(week.folder)
    return victims, faults


@dataclass
class Week:
    """One week's run, in a folder of its own."""

    folder: Path
    plan: Plan
    chance: random.Random
    span_s: float
    _of_step: Counter[str] = field(default_factory=Counter)

    def call(self, script: str, *arguments: str) -> None:
        """Run a command to its end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(ROOT / "scripts" / script), *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise KillsError(f"{script} ended with exit status {done.returncode}: {done.stderr[-2000:]}")

    def have_the_day_done(self) -> None:
        """Record that this day's steps and chores are done, so that the week alone is left."""
        day = parse(step_list.DAILY, DAILY, ZONE).last_due(time.time())[0]
        database = Database(f"sqlite:///{self.folder}/marina.db")
        with database.writing() as connection:
            for family, step in ((FAMILY, LAST_STEP), *((step_list.ALL, name) for name in step_list.CHORES)):
                steps.begin(connection, database, day, family, step, time.time())
                steps.end(connection, day, family, step, 0, {}, "", "done", time.time())
        database.close()

    def run(self, most: int, report: Callable[[str], None]) -> Counter[str]:
        """Kill it at most so often, and start it again until it is done; return what was killed."""
        victims: Counter[str] = Counter()
        ends = time.monotonic() + LIMIT_S
        daemon = self._start()
        try:
            while not self._done():
                if time.monotonic() > ends:
                    raise KillsError(f"the week is not done after {LIMIT_S:g} s:\n{self._log.read_text()[-4000:]}")
                if victims.total() < most:
                    self._wait(daemon)
                    if self._done():
                        break
                    what = self._kill(daemon)
                    victims[what.split()[0]] += 1
                    report(f"kill {victims.total()}: {what}")
                if daemon.poll() is not None:
                    daemon = self._start()
                time.sleep(LOOK_S)
        finally:
            _end(daemon)
        return victims

    def audit(self) -> Iterator[tuple[str, bool, str]]:
        """Check the end: each thing that is to be so, whether it is, and what was found."""
        database = Database(f"sqlite:///{self.folder}/marina.db")
        try:
            with database.reading() as connection:
                rows = connection.execute(sa.select(RAW_ROWS.c.content, RAW_ROWS.c.week)).all()
                shown = sum(row.week != "" for row in rows)
                releases = connection.execute(sa.select(RAW_RELEASES.c.rows, RAW_RELEASES.c.visible)).all()
                once = len(rows) == len({row.content for row in rows})
                whole = [tuple(row) for row in releases] == [(shown, shown)] and shown == self.plan.visible[0]
                yield "no row was loaded twice", once and whole, f"{shown} of {len(rows)} in {len(releases)} release"
                trained = connection.execute(sa.select(TRAININGS.c.version, TRAININGS.c.state)).all()
                registered = Registry(self.folder).newest(FAMILY)
                same = [tuple(row) for row in trained] == [("1.0", "done")]
                newest = registered.number if registered else "none"
                yield (
                    "one training is one version",
                    same and newest == "1",
                    f"{len(trained)} trained, newest {newest}",
                )
                promoted = [one for one in ledger.entries(connection, FAMILY) if one.action == looks.DECISION]
                live = connection.execute(sa.select(DECLARATIONS.c.version)).scalars().all()
                yield "one promotion", len(promoted) == 1, f"{len(promoted)} decided, declared {list(live)}"
                faults = ledger.verify(connection)
                yield "the ledger verifies", not faults, str(faults[0]) if faults else "all rows"
        finally:
            database.close()

    @property
    def _environment(self) -> dict[str, str]:
        own = {
            "state_dir": self.folder, "archive_store": self.folder / "store", "signers": "", "unsigned": "refuse",
            "database_url": f"sqlite:///{self.folder}/marina.db", "load_first_share": FIRST_SHARE,
            "min_f1_threshold": BOUND, "notify_urls": "[]", "ml_retry_pause_s": 0.1,
            "ml_daily_schedule": DAILY, "ml_time_zone": ZONE,
        }  # fmt: skip
        unset = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        mine = {f"MARINA_{name.upper()}": str(value) for name, value in own.items()}
        return {**unset, **mine, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}

    @property
    def _log(self) -> Path:
        return self.folder / "loop.log"

    def _start(self) -> subprocess.Popen[bytes]:
        held_out = f"{FAMILY}={self.plan.held_out}"
        command = ["-c", LOOP, "daemon", "--families", FAMILY, "--held-out", held_out]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=self._environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=end_with_parent(signal.SIGTERM),  # noqa: PLW1509 - called from a main thread
            )  # fmt: skip

    def _done(self) -> bool:
        database = Database(f"sqlite:///{self.folder}/marina.db")
        step = LOOP_STEPS.c
        try:
            with database.reading() as connection:
                asked = sa.select(step.state).where(step.step == LAST_STEP, step.run.startswith("weekly"))
                return bool(connection.execute(asked).scalar() == "done")
        finally:
            database.close()

    def _wait(self, daemon: subprocess.Popen[bytes]) -> None:
        """Wait for a moment: most often so long after a step began, else so long from now."""
        in_step, wait_s = self.chance.random() < IN_STEP, self.chance.uniform(0, self.span_s)
        while in_step and daemon.poll() is None and not self._running(daemon) and not self._done():
            time.sleep(LOOK_S)
        ends = time.monotonic() + wait_s
        while time.monotonic() < ends and not self._done():
            time.sleep(min(1.0, wait_s))

    def _running(self, daemon: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """Return the processes of the step that runs."""
        with contextlib.suppress(psutil.Error):
            found: list[psutil.Process] = psutil.Process(daemon.pid).children(recursive=True)
            return found
        return []

    def _kill(self, daemon: subprocess.Popen[bytes]) -> str:
        """Kill the daemon, a step's command, or all; return which, and which step ran."""
        running = self._running(daemon)
        ran = _name(running[0]) if running else ""
        kind = self.chance.choice(["daemon", "step", "machine"])
        if kind == "step" and ran and self._of_step[ran] < MOST_OF_STEP:
            self._of_step[ran] += 1
            with contextlib.suppress(psutil.Error):
                running[0].kill()
            return f"step {ran}"
        daemon.kill()
        if kind == "machine":
            for process in running:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        daemon.wait()
        return f"{'machine' if kind == 'machine' else 'daemon'} {f'in {ran}' if ran else 'between steps'}"


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return next((Path(one).stem for one in process.cmdline() if one.endswith(".py")), "")
    return ""


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


if __name__ == "__main__":
    sys.exit(main())
