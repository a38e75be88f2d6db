"""Release five versions of a small model under live traffic, in less than six minutes, and show the outcome of each.

    python -m demo
    python -m demo --out somewhere --picture releases.svg

It trains a small model of a catalogue, serves it, and lets simulated clients ask, who tell the true answers seconds
later. Version 2.0 is better: it answers in shadow first, then takes over step by step. Then come one that is right 4
points less often, one that is 80 ms slower and one that fails on 3 % of requests; each is to be rolled back by its own
gate. The server is the one of production, on free ports and with a database of its own; nothing of it is left.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from archives.registry import Registry
from demo import versions
from demo.plot import picture
from demo.scenario import FAILED, Rehearsal, RehearsalError, Release
from demo.simulated_clients import Clients, Question, Seen
from marina.database.connection import Database
from marina.serving.temporary_server import running
from marina.settings import ROOT, Settings, read_settings
from training.catalog.recipe import MODEL

OUT = ROOT / ".marina" / "demo"
POLICY = ROOT / "demo" / "policy.yaml"
QUESTIONS = 3000
SESSIONS = 5000
QUIET_S = 8.0
INPUT_SHARE = 0.3
PAIRS = 500
LIMIT_S = 150.0
SILENT_S = 10.0
WIDTH = 150
CAPTION = (
    "requests and labels: of the version, until the verdict; bad for: from its first bad request to its last one; "
    "then: of that, after the verdict; failed: requests it failed on; others failed: any other request meanwhile"
)

Log = Callable[[str], None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-s", type=float, default=150.0, help="requests per second (default: %(default)s)")
    parser.add_argument("--instances", type=int, default=10, help="products in each request (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of picture and report (default: %(default)s)")
    parser.add_argument("--picture", default="demo.png", help="its name, .png or .svg (default: %(default)s)")
    options = parser.parse_args()
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # a server of yours learns nothing of this
    options.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(options)
    except KeyboardInterrupt:
        return 130
    except RehearsalError as error:
        print(error, file=sys.stderr)
        return 1


def run(options: argparse.Namespace) -> int:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    started = time.monotonic()
    shown = started

    def log(words: str) -> None:
        nonlocal shown
        shown = time.monotonic()
        for line in words.splitlines():
            console.print(f"{shown - started:4.0f} s  {line}", markup=False, soft_wrap=True)

    def show(words: str) -> None:
        status.update(words)
        if not console.is_terminal and time.monotonic() - shown > SILENT_S:  # a log has no line that changes
            log(words)

    with (
        tempfile.TemporaryDirectory(prefix="marina-demo-", ignore_cleanup_errors=True) as folder,
        console.status("training and building five versions") as status,
    ):
        own = {
            "state_dir": f"{folder}/state", "archive_store": f"{folder}/store",
            "database_url": f"sqlite:///{folder}/state/marina.db", "inference_tokens": "[]",
            "signers": "", "unsigned": "refuse",
        }  # fmt: skip
        os.environ |= {f"MARINA_{name.upper()}": value for name, value in own.items()}
        settings = read_settings()
        first = build(settings, log)
        status.update("starting Java, nginx, the collector and the controller")
        with running([first], own) as server:
            clients = Clients(server.url, MODEL, questions(options.instances), options.per_s, SESSIONS)
            rehearsal = Rehearsal(Database(settings.database), clients, log, show)
            log(f"1.0 serves on {server.url}; clients ask {options.per_s:g} times a second")
            clients.start()
            try:
                releases = release_all(rehearsal, options.out, log)
            finally:
                clients.stop()
            console.print()
            console.print(summary(releases))
            for line in conclusions(clients, releases):
                console.print(line, markup=False, soft_wrap=True)
            whole = books(rehearsal, console)
            picture_path = options.out / options.picture
            picture(rehearsal.database, clients.seen, releases).savefig(picture_path)
            live = Registry(settings.state_dir).aliases(MODEL)
            console.print("MLflow's aliases: " + ", ".join(f"{name} {version}" for name, version in live.items()))
            console.print(f"pictures: {picture_path} and {options.out / 'shadow.html'}", markup=False, soft_wrap=True)
            rehearsal.database.close()
    console.print(f"{time.monotonic() - started:.0f} s in all; the server is stopped and its folder removed")
    gates = [", ".join(one.gates) for one in releases]
    expected = gates == [version.gate for version in versions.VERSIONS[1:]]
    return 0 if expected and whole and not failures(clients.seen) else 1


def build(settings: Settings, log: Log) -> Path:
    """Train and build all versions; return the first one's archive."""
    paths = []
    for one in versions.build_all(settings.state_dir, settings.archive_store):
        log(f"built {one.version.number}, {one.version.what}: right on {100 * one.accuracy:.1f} % of users' products")
        paths.append(one.built.path)
    return paths[0]


def questions(instances: int) -> list[Question]:
    """Return what clients ask: that many products at once, sampled from those that no version was trained on."""
    chance, products = random.Random(0), versions.asked()
    samples = [chance.choices(products, k=instances) for _ in range(QUESTIONS)]
    return [
        Question(
            json.dumps({"instances": [one.instance for one in some], "top_k": 1}).encode(), [one.code for one in some]
        )
        for some in samples
    ]


def release_all(rehearsal: Rehearsal, out: Path, log: Log) -> list[Release]:
    rehearsal.wait(QUIET_S, "1.0 serves alone")
    log("--- 2.0 answers in shadow")
    rehearsal.shadow("2.0", INPUT_SHARE, PAIRS, LIMIT_S)
    report = rehearsal.command("shadow_mode_report.py", "--model", MODEL, "--out", str(out / "shadow.html"))
    log(report.partition("most frequent disagreements")[0].strip())
    releases = []
    for version in versions.VERSIONS[1:]:
        log(f"--- {version.number} is released: {version.what}")
        releases.append(rehearsal.release(version.number, POLICY, LIMIT_S))
        log(rehearsal.command("rollout", "explain", "--model", MODEL))
    return releases


def summary(releases: Sequence[Release]) -> Table:
    """Return the outcome of each release, as a table."""
    table = Table(title="Outcome of each release", caption=CAPTION)
    for heading in ("version", "what it is", "ended", "by its"):
        table.add_column(heading)
    for heading in ("evidence", "requests", "labels", "bad for", "then", "failed", "others failed"):
        table.add_column(heading, justify="right")
    what = {version.number: version.what for version in versions.VERSIONS}
    for one in releases:
        canary, bad = one.evidence.canary, bool(one.gates)
        table.add_row(
            one.version, what[one.version], one.rollout.phase, ", ".join(one.gates),
            f"{one.odds:.3g} : 1" if bad else "", f"{canary.requests:,}", f"{canary.labelled:,}",
            f"{one.harmed_s:.1f} s" if bad else "", f"{one.obeyed_s:.1f} s" if bad else "",
            str(len(one.own_errors)), str(len(one.other_failures)),
        )  # fmt: skip
    return table


def failures(seen: Sequence[Seen]) -> list[Seen]:
    """Return every request that failed, but for those that the version made to fail did itself."""
    return [one for one in seen if one.status != 200 and not (one.version == versions.FAILING and one.status in FAILED)]


def conclusions(clients: Clients, releases: Sequence[Release]) -> Sequence[str]:
    """Say what the whole run came to."""
    seen, failed = clients.seen, failures(clients.seen)
    own = sum(one.status != 200 for one in seen) - len(failed)
    lines = [
        f"{len(seen):,} requests: {own} failed in {versions.FAILING}, on purpose; {len(failed)} failed otherwise",
        *(f"  {one.status} from {one.version or 'no one'}: {one.why}" for one in failed[:5]),
        f"{clients.sessions} sessions; {sum(len(one.wavering) for one in releases)} changed versions within a step "
        "(stable answers what a canary fails)",
        f"{sum(clients.labels.values()):,} labels were sent: {dict(clients.labels)}",
    ]
    if clients.label_faults:
        lines.append(
            f"labels were refused {len(clients.label_faults)} times and sent again: {clients.label_faults[-1]}"
        )
    return lines


def books(rehearsal: Rehearsal, console: Console) -> bool:
    """Check the ledger's hashes and compute every verdict again; return whether all is as it was written."""
    whole = True
    for check in (["ledger", "verify"], ["replay"]):
        try:
            said = rehearsal.command("rollout", *check)
        except RehearsalError as error:
            said, whole = str(error), False
        console.print(said, markup=False, soft_wrap=True)
    return whole


if __name__ == "__main__":
    sys.exit(main())
