"""Train a family's models, build their archives and register them in MLflow.

    python scripts/train.py signflow --size small
    python scripts/train.py signflow --size base --data recordings/common_signs.npz
    python scripts/train.py catalog --help
    python scripts/train.py missing           # every family of which the store lacks a model, with its defaults

A family is found by its name: `training/FAMILY.py` says what its options are and how its models are trained,
`training/FAMILY_release.py` what an archive is made of.
"""

import argparse
import importlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from settings import Settings
from training import tracking
from training.command import add_archive_arguments, train

ROOT = Path(__file__).resolve().parent.parent
MISSING = "missing"


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    settings = Settings()
    families = sorted(path.name.removesuffix("_release.py") for path in ROOT.glob("training/*_release.py"))
    parser = argparse.ArgumentParser(
        prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="family", required=True, metavar="FAMILY")
    for family in [*families, MISSING]:
        command = commands.add_parser(
            family, help=f"train {family}", epilog=f"example: python scripts/train.py {family} --no-archive"
        )
        if family in argv and family != MISSING:  # one family's libraries are slow enough to import
            importlib.import_module(f"training.{family}").add_arguments(command)
        add_archive_arguments(command, settings.archive_store)
    arguments = parser.parse_args(argv)
    console = Console(soft_wrap=True)
    if arguments.family != MISSING:
        return train(arguments.family, arguments, settings.state_dir, console)
    lacking = {family: models for family in families if (models := lacks(arguments.store, family))}
    for family, models in lacking.items():
        console.print(f"{family}: no archive of {', '.join(models)}", highlight=False)
    return side_by_side(list(lacking), argv[1:], settings.state_dir)


def side_by_side(families: list[str], options: list[str], home: Path) -> int:
    """Train families in processes of their own, as many at once as there are cores, and show what each says."""
    if not families:
        return 0
    tracking.prepare(home)  # two processes must not make the database at once
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}

    def one(family: str) -> int:
        command = [sys.executable, __file__, family, *options]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(f"{family:>12} | {line}", end="", flush=True)
        return process.returncode

    with ThreadPoolExecutor(min(len(families), len(os.sched_getaffinity(0)))) as pool:
        failed = [code for code in pool.map(one, reversed(families)) if code]
    return 1 if failed else 0


def lacks(store: Path, family: str) -> list[str]:
    """Return the family's models of which a store holds no archive."""
    models = importlib.import_module(f"training.{family}").MODELS
    return [model for model in models if not any(store.glob(f"{model}-*.mar"))]


if __name__ == "__main__":
    sys.exit(main())
