"""A family's training as a command: its models trained, their archives built and entered in the registry.

`scripts/train.py FAMILY` and `python -m training.FAMILY` are this; the latter is what torchrun can start.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from rich.console import Console

from archives.contract import ArchiveError
from archives.registry import Registry, RegistryError
from settings import Settings
from training.checkpoint import CheckpointError
from training.data.quality import BadDataError


def main(family: str, argv: list[str] | None = None) -> int:
    """Run the command of one family."""
    settings, module = Settings(), importlib.import_module(f"training.{family}")
    parser = argparse.ArgumentParser(
        prog=f"python -m training.{family}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    add_archive_arguments(parser, settings.archive_store)
    return train(family, parser.parse_args(argv), settings.state_dir, Console(soft_wrap=True))


def add_archive_arguments(parser: argparse.ArgumentParser, store: Path) -> None:
    """Add the options that say what becomes of the trained models."""
    parser.add_argument("--version", help="version of the archives (default: one above each one's newest)")
    parser.add_argument("--store", type=Path, default=store, help="folder of archives (default: %(default)s)")
    parser.add_argument("--no-archive", action="store_true", help="train and evaluate only")


def train(family: str, arguments: argparse.Namespace, home: Path, console: Console) -> int:
    """Train a family's models as a command line says, build and register their archives; returns an exit status."""
    module = importlib.import_module(f"training.{family}")
    try:
        trained = module.train(module.from_arguments(arguments, home), console)
    except (ArchiveError, BadDataError, CheckpointError, FileNotFoundError) as error:
        console.print(str(error), style="red", highlight=False)
        return 1
    if arguments.no_archive or not trained:  # of several processes one has the models
        return 0
    from training.archive import build

    release = importlib.import_module(f"training.{family}_release").release
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


def next_version(store: Path, model: str) -> str:
    """Return the version one above the newest ``MODEL-X.Y.mar`` in a store; 1.0 in an empty one."""
    numbers = [path.stem.removeprefix(f"{model}-").split(".")[0] for path in store.glob(f"{model}-*.mar")]
    return f"{max((int(number) for number in numbers if number.isdigit()), default=0) + 1}.0"
