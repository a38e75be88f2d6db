"""Train a family when there is a reason: new data, enough labels, or a person's decision about a drift alarm.

    python scripts/auto_train.py --family catalog --data exports/catalog.csv
    python scripts/auto_train.py --family catalog --reason drift       # only if someone decided so: scripts/alerts.py
    python scripts/auto_train.py --family catalog --reason manual      # new code, or for no other reason
    python scripts/auto_train.py --family budget --rules 3             # only what is trained with these rules

Data is new when its manifest is not that of the newest registered versions. It is read before it is trained on: what is
bad is named and not tried again. The family's recipe (scripts/train.py) then runs as a command with a time limit, and
again after a pause where it failed for what may pass by itself. A training is done once for its data, code and reason:
started again after a kill it continues, and what is done already is only printed. Of those that are to train a family
one does. What was trained is registered, and in no store: a promotion puts it there. A family with rules that people
edit in the console is trained with their newest version; --rules trains the one model that has them, with the version
of that number.

The last line is JSON: the trained versions and their runs. Exit status: 0 trained, 3 no reason, 4 bad data, 5 time
limit, 6 another training of the family runs, 1 failed.
"""

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from rich.console import Console

from archives.errors import MarinaError
from archives.registry import Registry
from marina.database.connection import AWAY, Database
from marina.database.console_tables import RULE_VERSIONS
from marina.monitoring.requested_trainings import RULES_OF
from marina.pipelines import commands, trainings
from marina.pipelines.reasons import Reason, Situation, find_reason
from marina.processes.console import show
from marina.processes.files import write_atomically
from marina.releases.heads import open_database
from marina.releases.lease import LEASE_S, Lease
from marina.settings import ROOT, Settings, read_settings
from training.cli import add_archive_arguments, next_version
from training.data.manifest import SYNTHETIC, listed
from training.family import edited_rules, families, recipe, tags_of

NO_REASON, BAD_DATA, TOO_LONG = 3, 4, 5
PAUSES_S: Final = (30.0, 120.0)
"""Before the second and the third attempt of what may pass by itself."""

REASONS = ("data", "labels", "drift", "manual")
LOOK_S = 0.5


class TrainingLostError(MarinaError):
    """Another process trains the family now."""


def main(argv: list[str] | None = None, pauses_s: Sequence[float] = PAUSES_S) -> int:
    parser = argparse.ArgumentParser(
        prog="auto_train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", required=True, choices=families())
    parser.add_argument("--data", default=SYNTHETIC, metavar="PATH", help=f'"{SYNTHETIC}" (default), or recorded data')
    parser.add_argument("--reason", choices=REASONS, help="the only one that counts (default: the first that holds)")
    parser.add_argument("--rules", type=int, metavar="N", help="train what has rules, with version N of them")
    parser.add_argument("--quick", action="store_true", help="spend less than the recipe says, for a look")
    parser.add_argument(
        "--since", type=float, metavar="T", help="a training that ended after T, in seconds since 1970, is the answer"
    )
    options = parser.parse_args(argv)
    if options.rules is not None and edited_rules(options.family) is None:
        parser.error(f"--rules: people edit none of {options.family}")
    settings = read_settings()
    try:
        database = open_database(settings, first=True)
        try:
            database.upgrade()
            return _alone(database, settings, options, pauses_s)
        finally:
            database.close()
    except TrainingLostError as error:
        show(error, sys.stderr)
        return commands.WAIT
    except MarinaError as error:
        show(error, sys.stderr)
        return 1


def _alone(database: Database, settings: Settings, options: argparse.Namespace, pauses_s: Sequence[float]) -> int:
    """Train while no one else trains the family; who was killed at it is waited for until its lease is over."""
    lease = Lease(f"train {options.family}", f"{settings.replica_name} {socket.gethostname()} {os.getpid()}"[:128])
    ends = time.monotonic() + LEASE_S + 1
    while not _renewed(database, lease):
        if time.monotonic() > ends:
            raise TrainingLostError(f"{options.family}: another training of it runs; ask again when it has ended")
        time.sleep(LOOK_S)
    try:
        return _train(database, settings, options, pauses_s, lease)
    finally:
        with database.writing() as connection:
            lease.give_back(connection)


def _renewed(database: Database, lease: Lease) -> bool:
    if not lease.due():
        return True
    try:
        with database.writing() as connection:
            return lease.take(connection, time.time())
    except AWAY:  # no one else can take it either
        return lease.is_recent()


@dataclass(frozen=True)
class Due:
    """A training that is due: what identifies it, why, and how far an earlier attempt at it came."""

    key: str
    data: str
    code: str
    reason: Reason
    before: trainings.Training | None


def _train(
    database: Database, settings: Settings, options: argparse.Namespace, pauses_s: Sequence[float], lease: Lease
) -> int:
    family, models = _named(options), list(recipe(options.family).MODELS)
    rules = _rules(database, settings, options)
    if options.rules is not None:
        models = [str(edited_rules(options.family))]
    elif options.since is not None and (ended := trainings.newest_done(database, family, options.since)):
        print(json.dumps({**ended.result, "again": True}))
        return 0
    registry, listing = Registry(settings.state_dir), listed(Path(options.data))
    data = _read(options, settings) if listing is None else listing.sha256
    due = _due(database, settings, options, registry, data, models, rules) if data else None
    if not data:
        return BAD_DATA
    before = due.before if due else None
    done = before is not None and before.state == "done"
    if before is not None and done and (options.since is None or options.rules is not None):
        show(f"{family}: this training is done already")
        print(json.dumps({**before.result, "again": True}))
        return 0
    if due is None or done:
        show(f"{family}: no reason to train")
        print(json.dumps({"family": family, "trained": []}))
        return NO_REASON
    if listing is not None and not _read(options, settings):  # until now only its hash was needed
        return BAD_DATA
    show(f"{family}: {due.reason.why}")
    return _attempt(database, settings, options, pauses_s, lease, registry, models, due, rules)


def _named(options: argparse.Namespace) -> str:
    """Return the name under which a training is recorded: one for rules is no training of the whole family."""
    family = str(options.family)
    return family if options.rules is None else RULES_OF.format(family=family)


def _rules(database: Database, settings: Settings, options: argparse.Namespace) -> Path | None:
    """Write the rules that people edited to a file, by their hash; None: there are none, and the project's are used."""
    if edited_rules(options.family) is None:
        return None
    one = RULE_VERSIONS.c
    chosen = sa.select(one.sha256, one.rules).order_by(one.number.desc()).limit(1)
    with database.reading() as connection:
        row = connection.execute(chosen if options.rules is None else chosen.where(one.number == options.rules)).first()
    if row is None and options.rules:
        raise MarinaError(f"there is no version {options.rules} of the rules")
    if row is None:
        return None
    path: Path = settings.state_dir.resolve() / "rules" / f"{row.sha256}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, row.rules)
    return path


def _read(options: argparse.Namespace, settings: Settings) -> str:
    """Return the hash of the data; where it is bad, say so and return nothing."""
    try:
        return data_hash(options, settings)
    except (MarinaError, FileNotFoundError) as error:
        show(error, sys.stderr)
        return ""


def _due(
    database: Database, settings: Settings, options: argparse.Namespace, registry: Registry, data: str,
    models: Sequence[str], rules: Path | None,
) -> Due | None:  # fmt: skip
    family = _named(options)
    newest = [found for model in models if (found := registry.newest(model)) is not None]
    known = {one.tags.get("data_manifest_sha256") for one in newest}
    is_new = len(newest) < len(models) or (options.data != SYNTHETIC and data not in known)
    code = trainings.code_hash(ROOT, ("archives", "models", f"training/{options.family}", "training/data"))
    code = trainings.key_of(code, rules.stem, "") if rules else code
    if (begun := trainings.cut_off(database, family, data, code)) is not None:
        return Due(begun[0].key, data, code, begun[1], begun[0])
    same = trainings.done_with(database, family, data, code)
    reason = _reason(database, settings, options, models, is_new, same)
    mark = (reason.mark if reason else "") + (" quick" if options.quick else "")
    key = trainings.key_of(family, data, code, mark)
    before = trainings.read(database, key)
    if reason is None:
        done = before is not None and before.state == "done"
        return Due(key, data, code, Reason("data", "it was done"), before) if done else None
    return Due(key, data, code, reason, before)


def _attempt(
    database: Database, settings: Settings, options: argparse.Namespace, pauses_s: Sequence[float], lease: Lease,
    registry: Registry, models: Sequence[str], due: Due, rules: Path | None,
) -> int:  # fmt: skip
    family, before = _named(options), due.before
    reserved = (options.family, RULES_OF.format(family=options.family))
    for attempt, pause_s in enumerate((*pauses_s, None), 1):
        version = _version(before, registry, settings, models, trainings.running(database, reserved))
        trainings.begin(database, due.key, family, due.data, due.code, due.reason, version, time.time())
        done = commands.Done(0, {}, "")
        if not _built(registry, settings, models, version):
            command = _command(options, settings, version, rules)
            done = commands.run(command, settings.ml_training_limit_s, lambda: _renewed(database, lease), cwd=str(ROOT))
        if done.exit == commands.STOPPED:  # it stays `running`: who trains the family now continues with it
            raise TrainingLostError(f"{family}: another training of it runs, and this one was ended")
        if done.exit == 0:
            result = _tag(registry, options, models, version, due.reason)
            trainings.end(database, due.key, True, result, time.time())
            _discard(settings, models, version)
            print(json.dumps(result))
            return 0
        trainings.end(database, due.key, False, {"exit": done.exit, "tail": done.tail}, time.time())
        show(done.tail, sys.stderr)
        if done.exit == commands.TIMED_OUT:
            show(f"{family}: ended after {settings.ml_training_limit_s:g} s (MARINA_ML_TRAINING_LIMIT_S)", sys.stderr)
            return TOO_LONG
        if pause_s is not None:
            show(f"{family}: attempt {attempt} failed; the next one in {pause_s:g} s", sys.stderr)
            _pause(database, lease, pause_s)
        before = trainings.read(database, due.key)
    return 1


def data_hash(options: argparse.Namespace, settings: Settings) -> str:
    """Read the data as the recipe will, and return the hash of its manifest; of generated data, its name."""
    if options.data == SYNTHETIC:
        return SYNTHETIC
    module = recipe(options.family)
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    add_archive_arguments(parser, settings.archive_store)
    arguments = parser.parse_args(["--data", options.data])
    console = Console(soft_wrap=True, highlight=False, markup=False, stderr=True)
    found, manifest = module.load(module.from_arguments(arguments, settings.state_dir), console)
    if not len(found):
        raise MarinaError(f"{options.data}: nothing to train on; scripts/train.py {options.family} --check shows why")
    return str(manifest.sha256)


def _reason(
    database: Database, settings: Settings, options: argparse.Namespace, models: Sequence[str], is_new: bool, same: bool
) -> Reason | None:
    if options.rules is not None:
        return Reason("rules", f"version {options.rules} of the rules is to be released", f"rules {options.rules}")
    if options.reason == "manual":
        return Reason("manual", "it was asked for")
    with database.reading() as connection:
        found = replace(trainings.situation(connection, options.family, models, is_new), same=same)
    wanted: dict[str, dict[str, Any]] = {
        "data": {"new_data": found.new_data}, "labels": {"labels": found.labels, "same": same},
        "drift": {"retrain_alert": found.retrain_alert, "drift": found.drift},
    }  # fmt: skip
    if options.reason:
        found = Situation(**wanted[options.reason])
    if same and found.labels >= settings.ml_retrain_labels:
        show(
            f"{options.family}: {found.labels:,} labels came, and the data is that of the last training: the next "
            "release brings those whose input was kept "
            f"(python scripts/load_data.py release --family {options.family})",
            sys.stderr,
        )
    return find_reason(found, settings.ml_retrain_labels, settings.ml_auto_retrain, settings.ml_drift_threshold)


def _version(
    before: trainings.Training | None, registry: Registry, settings: Settings, models: Sequence[str],
    reserved: Sequence[str],
) -> str:  # fmt: skip
    """Return which version to build: that of an attempt which was cut off, or one above the newest of any model.

    What another attempt was to build that was cut off is reserved for its continuation.
    """
    if before is not None and before.state == "running":
        return before.version
    stores = (settings.archive_store, _candidates(settings))
    stored = [int(next_version(store, model).split(".")[0]) for store in stores for model in models]
    known = [found.version for model in models if (found := registry.newest(model)) is not None]
    newest = [one.split(".")[0] for one in (*known, *reserved)]
    return f"{max([*stored, *(int(one) + 1 for one in newest if one.isdecimal())])}.0"


def _built(registry: Registry, settings: Settings, models: Sequence[str], version: str) -> bool:
    """Whether an attempt that was cut off had built all; what it had not registered is registered."""
    if all(registry.find(model, version) is not None for model in models):
        return True
    files = [_candidates(settings) / f"{model}-{version}.mar" for model in models]
    if not all(file.is_file() for file in files):
        return False
    for file in files:
        registry.register(file)
    return True


def _candidates(settings: Settings) -> Path:
    """Return where archives are built: not in the store, which is served from."""
    return settings.state_dir.resolve() / "candidates"


def _discard(settings: Settings, models: Sequence[str], version: str) -> None:
    """Remove archives that the registry has."""
    for model in models:
        for file in _candidates(settings).glob(f"{model}-{version}.mar*"):
            file.unlink(missing_ok=True)


def _pause(database: Database, lease: Lease, pause_s: float) -> None:
    ends = time.monotonic() + pause_s
    while (left := ends - time.monotonic()) > 0:
        time.sleep(min(left, LOOK_S))
        if not _renewed(database, lease):
            raise TrainingLostError(f"{lease.name}: another process does that now")


def _command(options: argparse.Namespace, settings: Settings, version: str, rules: Path | None) -> list[str]:
    recorded = ["--data", options.data] if options.data != SYNTHETIC else []
    quick = ["--quick"] if options.quick else []
    edited = ["--rules", str(rules)] if rules else []
    edited += ["--models", str(edited_rules(options.family))] if options.rules is not None else []
    store = ["--version", version, "--store", str(_candidates(settings))]
    return [
        sys.executable,
        str(Path(__file__).with_name("train.py")),
        options.family,
        *recorded,
        *quick,
        *edited,
        *store,
    ]


def _tag(
    registry: Registry, options: argparse.Namespace, models: Sequence[str], version: str, reason: Reason
) -> dict[str, Any]:
    trained = []
    for model in models:
        found = registry.find(model, version)
        if found is None:
            raise MarinaError(f"{model} {version} was trained and is not in the registry: scripts/register_archive.py")
        tags = {"auto_trained": "true", "stage": "candidate", "reason": reason.why}
        registry.note(found, {**tags, **tags_of(options.family, model)})
        trained.append({"model": model, "version": version, "run_id": found.run_id, "metrics": dict(found.metrics)})
    return {"family": options.family, "reason": reason.kind, "why": reason.why, "trained": trained}


if __name__ == "__main__":
    sys.exit(main())
