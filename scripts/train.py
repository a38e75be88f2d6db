"""Train a family's models, build their archives and register them in MLflow.

    python scripts/train.py signflow --size small
    python scripts/train.py signflow --size base --data recordings/common_signs.npz
    python scripts/train.py budget --data releve.csv --check    # how a file would be read; docs/OWN_DATA.md
    python scripts/train.py catalog --help
    python scripts/train.py missing --quick   # every family of which the store lacks a model, for a look

A family is found by its name: `training/FAMILY/recipe.py` says what its options are and how its models are
trained, `training/FAMILY/release.py` what an archive is made of.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from marina.settings import read_settings
from training.cli import add_archive_arguments, add_quick, train
from training.family import families, recipe

MISSING = "missing"


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    settings = read_settings()
    names = families()
    parser = argparse.ArgumentParser(
        prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="family", required=True, metavar="FAMILY")
    for family in [*names, MISSING]:
        command = commands.add_parser(
            family,
            help=f"train {family}",
            epilog=f"example: python scripts/train.py {family} --no-archive"
            + ("" if family == MISSING else f"; python scripts/train.py {family} --data FILE --check"),
        )
        if family in argv and family != MISSING:  # one family's libraries are slow enough to import
            recipe(family).add_arguments(command)
        if family == MISSING:
            add_quick(command)
        add_archive_arguments(command, settings.archive_store)
    arguments = parser.parse_args(argv)
    console = Console(soft_wrap=True)
    if arguments.family != MISSING:
        return train(arguments.family, arguments, settings.state_dir, console)
    missing = {family: models for family in names if (models := find_missing_archives(arguments.store, family))}
    for family, models in missing.items():
        console.print(f"{family}: no archive of {', '.join(models)}", highlight=False)
    return side_by_side(list(missing), argv[1:])


def side_by_side(names: list[str], options: list[str]) -> int:
    """Train families in processes of their own, as many at once as there are cores, and show what each says."""
    if not names:
        return 0
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}

    def one(family: str) -> int:
        command = [sys.executable, __file__, family, *options]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(f"{family:>12} | {line}", end="", flush=True)
        return process.returncode

    with ThreadPoolExecutor(min(len(names), len(os.sched_getaffinity(0)))) as pool:
        failed = [code for code in pool.map(one, reversed(names)) if code]
    return 1 if failed else 0


def find_missing_archives(store: Path, family: str) -> list[str]:
    """Return the family's models of which a store holds no archive."""
    models = recipe(family).MODELS
    return [model for model in models if not any(store.glob(f"{model}-*.mar"))]


if __name__ == "__main__":
    sys.exit(main())
