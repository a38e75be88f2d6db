"""Back up an installation to a folder or an S3-compatible store, and restore it with one command.

    python scripts/backup.py run                          # to MARINA_BACKUP_DESTINATION; what is new since the last
    python scripts/backup.py list
    python scripts/backup.py verify                       # reads every byte of the newest; --all: of each
    python scripts/backup.py restore                      # the newest, into an empty state folder and database
    python scripts/backup.py restore --backup 20261127T --destination /mnt/backups/marina

A backup holds the database, MLflow's database and artifacts, the archives, public keys, the noted heads of the ledger.
It holds no private key, token or setting. A running server is not disturbed. `restore` refuses a target that is not
empty; with --force files are moved aside, and a PostgreSQL database is replaced. Exit status: 0 done, 1 not done or
found damaged, 5 the ledger does not verify after a restore, 7 a backup was made, but not all that is past keeping was
deleted.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from archives.errors import MarinaError
from marina.pipelines.backup import manifest, restore, runs
from marina.pipelines.backup.manifest import Manifest
from marina.pipelines.backup.stores import Store, open_store
from marina.pipelines.step_list import NOT_PRUNED
from marina.processes.background import step_aside
from marina.processes.console import show
from marina.settings import Settings, read_settings

UNVERIFIED = 5
NICE = 10


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="backup.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "list", "verify", "restore"))
    parser.add_argument("--destination", default="", help="another place than MARINA_BACKUP_DESTINATION")
    parser.add_argument("--backup", default="latest", help="which: its id, or how that begins (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="verify every backup")
    parser.add_argument("--force", action="store_true", help="restore over what is there")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(argv)
    settings = read_settings()
    try:
        store = open_store(settings, options.destination)
        if options.what == "run":
            return _run(settings, store, options.json)
        if options.what == "list":
            return _list(store, options.json)
        if options.what == "verify":
            return _verify(store, options)
        return _restore(settings, store, options)
    except (MarinaError, OSError, sa.exc.SQLAlchemyError) as error:
        show(error, sys.stderr)
        return 1


def _run(settings: Settings, store: Store, as_json: bool) -> int:
    step_aside(NICE)
    made = runs.run(settings, store)
    one = made.manifest
    text = [
        f"{made.name}: {len(one.files)} files, {_mb(one.bytes)}, of which {_mb(made.new_bytes)} new, in "
        f"{made.seconds:.1f} s, to {store.place}",
        f"  ledger: {_head(one)}",
        *(f"  not in it: {line}" for line in one.left_out),
        *(f"  deleted, past keeping: {name}" for name in made.deleted),
    ]
    if made.not_deleted:
        show(f"{made.name} is made, but what is past keeping was not deleted: {made.not_deleted}", sys.stderr)
    _tell(text, asdict(made) | {"manifest": _short(one)}, as_json)
    return NOT_PRUNED if made.not_deleted else 0


def _list(store: Store, as_json: bool) -> int:
    found = [manifest.read(store, name) for name in manifest.ids(store)]
    text = [f"{name}  {len(one.files):5} files  {_mb(one.bytes):>10}  ledger {_head(one)}" for name, one in found]
    _tell(
        text or [f"no backup in {store.place}"],
        {"backups": [_short(one) | {"id": name} for name, one in found]},
        as_json,
    )
    return 0


def _verify(store: Store, options: argparse.Namespace) -> int:
    names = manifest.ids(store) if options.all else [options.backup]
    wrong = False
    for asked in names or ["latest"]:
        name, one, faults = runs.verify(store, asked)
        wrong |= bool(faults)
        said = f"{name}: {len(one.files)} files, {_mb(one.bytes)}: " + ("DAMAGED" if faults else "whole")
        _tell([said, *(f"  {fault}" for fault in faults)], {"id": name, "faults": faults}, options.json)
    return 1 if wrong else 0


def _restore(settings: Settings, store: Store, options: argparse.Namespace) -> int:
    done = restore.restore(settings, store, options.backup, options.force)
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(done.manifest.made_at))
    live = [
        f"  {model} {version}: {one['weight']:g} of the traffic"
        for model, versions in done.manifest.live.items()
        for version, one in versions.items()
    ]
    text = [
        f"{done.name} of {made}: {len(done.manifest.files)} files, {_mb(done.manifest.bytes)}, restored in "
        f"{done.seconds:.1f} s",
        *live,
        f"  ledger: {_head(done.manifest)}: " + ("verifies" if not done.faults else "DOES NOT VERIFY"),
        *(f"  {fault}" for fault in done.faults),
        *([f"  what was there before: {done.aside}"] if done.aside else []),
        "  start it: python scripts/serve.py",
    ]
    said = {"id": done.name, "faults": done.faults, "seconds": done.seconds, **_short(done.manifest)}
    _tell(text, said, options.json)
    return UNVERIFIED if done.faults else 0


def _short(one: Manifest) -> dict[str, Any]:
    return {
        "made_at": one.made_at, "replica": one.replica, "files": len(one.files), "bytes": one.bytes, "head": one.head,
        "live": one.live, "database": one.database, "left_out": one.left_out,
    }  # fmt: skip


def _head(one: Manifest) -> str:
    return f"{one.head['seq']} rows, {one.head['hash'][:16]}…" if one.head else "no rows"


def _mb(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"


def _tell(text: list[str], values: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(values) if as_json else "\n".join(text))


if __name__ == "__main__":
    sys.exit(main())
