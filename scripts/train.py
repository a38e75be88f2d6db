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

from archives.contract import ArchiveError
from archives.registry import Registry, RegistryError
from settings import Settings
from training import tracking
from training.data.quality import BadDataError

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
        command.add_argument("--version", help="version of the archives (default: one above each one's newest)")
        command.add_argument(
            "--store", type=Path, default=settings.archive_store, help="folder of archives (default: %(default)s)"
        )
        command.add_argument("--no-archive", action="store_true", help="train and evaluate only")
    arguments = parser.parse_args(argv)
    console = Console(soft_wrap=True)
    if arguments.family != MISSING:
        return train(arguments, settings.state_dir, console)
    lacking = {family: models for family in families if (models := lacks(arguments.store, family))}
    for family, models in lacking.items():
        console.print(f"{family}: no archive of {', '.join(models)}", highlight=False)
    return side_by_side(list(lacking), argv[1:], settings.state_dir)


def train(arguments: argparse.Namespace, home: Path, console: Console) -> int:
    module = importlib.import_module(f"training.{arguments.family}")
    try:
        trained = module.train(module.from_arguments(arguments, home), console)
    except (ArchiveError, BadDataError, FileNotFoundError) as error:
        console.print(str(error), style="red", highlight=False)
        return 1
    if arguments.no_archive:
        return 0
    from training.archive import build

    release = importlib.import_module(f"training.{arguments.family}_release").release
    archives = []
    for model, result in trained.items():
        with console.status(f"exporting, certifying and packing {model}"):
            version = arguments.version or next_version(arguments.store, model)
            built = build(release(result, version), arguments.store)
        archives.append(built.path)
        console.print(
            f"built {built.path}\n  SHA-256 {built.sha256}\n  largest gap to the trained model {built.gap:.1e}",
            highlight=False,
        )
    return enter(archives, home, console)


def enter(archives: list[Path], home: Path, console: Console) -> int:
    """Register built archives; one that cannot be is named, and is in the store all the same."""
    registry, failed = Registry(home), 0
    for archive in archives:
        try:
            entered = registry.register(archive)
            console.print(f"registered {archive.name} as version {entered.number} of {entered.model}", highlight=False)
        except RegistryError as error:
            failed = 1
            console.print(f"{archive} is built, and not registered: {error}", style="red", highlight=False)
            console.print(f"later: python scripts/register_archive.py {archive}", highlight=False)
    return failed


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


def next_version(store: Path, model: str) -> str:
    """Return the version one above the newest ``MODEL-X.Y.mar`` in a store; 1.0 in an empty one."""
    numbers = [path.stem.removeprefix(f"{model}-").split(".")[0] for path in store.glob(f"{model}-*.mar")]
    return f"{max((int(number) for number in numbers if number.isdigit()), default=0) + 1}.0"


if __name__ == "__main__":
    sys.exit(main())
