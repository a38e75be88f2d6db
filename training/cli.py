"""A family's training as a command: its models trained, their archives built and entered in the registry.

`scripts/train.py FAMILY` and `python -m training.FAMILY.recipe` are this; the latter is what torchrun can start.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.text import Text

from archives.errors import MarinaError
from archives.keys import signing_key
from archives.registry import Registry, RegistryError
from marina.settings import read_settings
from training.data.manifest import SYNTHETIC
from training.data.quality import OnBad
from training.data.reading.style import Style
from training.family import recipe, releasing


def main(family: str, argv: list[str] | None = None) -> int:
    """Run the command of one family."""
    settings, module = read_settings(), recipe(family)
    parser = argparse.ArgumentParser(
        prog=f"python -m training.{family}.recipe",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    add_archive_arguments(parser, settings.archive_store)
    return train(family, parser.parse_args(argv), settings.state_dir, Console(soft_wrap=True))


def add_archive_arguments(parser: argparse.ArgumentParser, store: Path) -> None:
    """Add the options for the trained models' archives."""
    parser.add_argument("--version", help="version of the archives (default: one above each one's newest)")
    parser.add_argument("--store", type=Path, default=store, help="folder of archives (default: %(default)s)")
    parser.add_argument("--no-archive", action="store_true", help="train and evaluate only")


def train(family: str, arguments: argparse.Namespace, home: Path, console: Console) -> int:
    """Train a family's models as a command line says, build and register their archives; returns an exit status."""
    module = recipe(family)
    try:
        options = module.from_arguments(arguments, home)
        if getattr(arguments, "check", False):
            return check(family, options, arguments.data, console)
        trained = module.train(options, console)
    except (MarinaError, FileNotFoundError) as error:
        console.print(Text(_plain(error), "red"))
        return 1
    if arguments.no_archive or not trained:  # of several processes one has the models
        return 0
    from training.packaging.archive import build

    release = releasing(family).release
    key, archives = signing_key(read_settings().signing_key, home), []
    for model, result in trained.items():
        with console.status(f"exporting, certifying and packing {model}"):
            version = arguments.version or next_version(arguments.store, model)
            built = build(release(result, version), arguments.store, key)
        archives.append(built.path)
        console.print(
            f"built {built.path}\n  SHA-256 {built.sha256}, signed with {key.id[:16]}…\n"
            f"  largest gap to the trained model {built.gap:.1e}",
            highlight=False,
        )
    return enter(archives, home, console)


def check(family: str, options: Any, data: str, console: Console) -> int:
    """Show how a family's recorded data is read, and train nothing; returns an exit status.

    Raises
    ------
    training.data.quality.BadDataError
        If nothing can be read of it.
    FileNotFoundError
        If there is none.
    """
    if data == SYNTHETIC:
        console.print("expected recorded data to check, got none: name it with --data PATH", style="red")
        return 2
    found, manifest = recipe(family).load(options, console)
    files = "1 file" if len(manifest.entries) == 1 else f"{len(manifest.entries)} files"
    console.print(f"checked: {len(found):,} examples to train on in {files}; nothing was trained", highlight=False)
    return 0 if len(found) else 1


def enter(archives: list[Path], home: Path, console: Console) -> int:
    """Register built archives; one that cannot be is named, and is in the store anyway."""
    registry, failed = Registry(home), 0
    for archive in archives:
        try:
            entered = registry.register(archive)
            console.print(f"registered {archive.name} as version {entered.number} of {entered.model}", highlight=False)
        except RegistryError as error:
            failed = 1
            console.print(Text(f"{archive} is built, and not registered: {_plain(error)}", "red"))
            console.print(f"later: python scripts/register_archive.py {archive}", highlight=False)
    return failed


def add_shared(parser: argparse.ArgumentParser, data: str) -> None:
    """Add ``--data``, ``--check``, ``--on-bad``, ``--quick`` and ``--seed``.

    Parameters
    ----------
    parser
        Of a family's command.
    data
        What recorded data may be, after 'or', for the help.
    """
    parser.add_argument("--data", default=SYNTHETIC, metavar="PATH", help=f'"{SYNTHETIC}" (default), or {data}')
    parser.add_argument(
        "--check", action="store_true", help="only show how --data is read, column by column; train nothing"
    )
    parser.add_argument(
        "--on-bad", choices=get_args(OnBad), default="skip", help="what to do about bad data (default: %(default)s)"
    )
    add_quick(parser)
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")


def add_quick(parser: argparse.ArgumentParser) -> None:
    """Add ``--quick``."""
    about = "spend less than the recipe says, for a look; scripts/promote.py refuses it"
    parser.add_argument("--quick", action="store_true", help=about)


def add_search(parser: argparse.ArgumentParser, trials: int | None, budget_s: float) -> None:
    """Add ``--trials`` and ``--budget-s``, with their defaults; None where each of several models has its own."""
    usual = "each model's own" if trials is None else "%(default)s"
    parser.add_argument("--trials", type=int, default=trials, help=f"candidates of each search (default: {usual})")
    parser.add_argument(
        "--budget-s",
        type=float,
        default=budget_s,
        help="no trial starts after this many seconds (default: %(default)s)",
    )


def shared_options(arguments: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Return what `add_shared`, `add_style` and `add_search` asked for, by the names of the options' classes."""
    names = ("data", "on_bad", "seed", "trials", "budget_s", "quick")
    return {"home": home, "style": Style.of(arguments), **{name: getattr(arguments, name) for name in names}}


def next_version(store: Path, model: str) -> str:
    """Return the version one above the newest ``MODEL-X.Y.mar`` in a store; 1.0 in an empty one."""
    numbers = [path.stem.removeprefix(f"{model}-").split(".")[0] for path in store.glob(f"{model}-*.mar")]
    return f"{max((int(number) for number in numbers if number.isdigit()), default=0) + 1}.0"


def _plain(words: object) -> str:
    """Spell out what a terminal, to which words of others are shown, would take for orders."""
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in str(words))
