"""What a family's folder in `training/` has in it, so that commands and tests find all families by looking.

| file | role |
|---|---|
| `recipe.py` | the whole training run; `MODELS`, `add_arguments`, `from_arguments`, `train` |
| | `RULES`, by which metric each model is promoted, and `TAGS`, what MLflow is told of it, where it has its own |
| | `EDITED_RULES`, the model of it that takes rules which people edit, as ``--rules FILE``, where there is one |
| `release.py` | from what was trained to what an archive is made of: `release` |
| `fit.py`, `estimators.py` | the numeric core |
| `metrics.py` | the figures of the model card |
| `cross_validation.py` | the family on recorded data, beside plain baselines: `add_arguments`, `evaluate` |
| `recorded.py`, `synthetic/` | the reader of recorded data, and the generator |
| `raw_rows.py` | how recorded rows are kept in the database: `SOURCE` (all but SignFlow) |
| `labelled.py` | recorded rows with their right answers that one archive may be evaluated on: `labelled` |
| `unseen_clips.py` | labelled inputs that two archives may be compared on: `unseen_inputs` (SignFlow) |
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from rich.console import Console

from training.data.manifest import SYNTHETIC, Manifest
from training.data.quality import OnBad
from training.data.reading.style import Style

if TYPE_CHECKING:
    from archives.contract import Contract
    from marina.rollout.promotion import Rule
    from training.evaluation.labelled import Labelled
    from training.evaluation.slices import SliceReport
    from training.packaging.archive import Release

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What every training run is told; a family adds its own.

    Attributes
    ----------
    home
        Folder of the local MLflow database, and of checkpoints.
    quick
        Whether to spend less, for a look: fewer passes, trials or folds than the recipe says, and no second fit. The
        archive says so, and `scripts/promote.py` refuses it unless told.
    """

    home: Path = Path(".marina")
    quick: bool = False


@dataclass(frozen=True, kw_only=True)
class SearchOptions(TrainOptions):
    """Of a run that searches among settings.

    Attributes
    ----------
    seed
        Of all chance: splits, search, fits.
    trials, budget_s
        How many settings are compared, and after how many seconds no further one starts.
    """

    seed: int = 0
    trials: int = 1
    budget_s: float = 300.0


@dataclass(frozen=True, kw_only=True)
class DataOptions(TrainOptions):
    """Of a run that may learn from recorded data.

    Attributes
    ----------
    data
        "synthetic", or the path of recorded data.
    on_bad
        Whether bad recorded rows are skipped, or all is refused.
    style
        What decides where a column of recorded tables can be read in two ways.
    """

    data: str = SYNTHETIC
    on_bad: OnBad = "skip"
    style: Style = field(default_factory=Style)


@dataclass(frozen=True, kw_only=True)
class Fits:
    """What the figures of a training were measured of, and what the fit that ships was fitted to.

    Both are the same recipe with the same settings. The figures are of a fit that has not seen what it is asked; what
    ships is then fitted to all rows, those included, so nothing that is known is left unused.

    Attributes
    ----------
    evaluated
        In words, what the figures were measured on, and what chose the settings.
    shipped
        In words, what the fit that ships was fitted to.
    refitted
        Whether that is more than the evaluated fit has seen; False where the evaluated fit itself ships.
    """

    evaluated: str
    shipped: str
    refitted: bool = True


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What every trained model knows of how it came to be; a family adds what its archive is made of.

    Attributes
    ----------
    metrics
        Of the run, by the evaluated fit, on data that it never saw.
    params
        Of the run.
    fits
        What was evaluated, and what ships.
    quick
        Whether less was spent than the recipe says.
    slices
        Which groups the evaluated fit does worse for, where groups were compared.
    data_manifest_sha256, mlflow_run_id
        Which data and which run.
    """

    metrics: Mapping[str, float]
    params: Mapping[str, str | int | float]
    data_manifest_sha256: str
    mlflow_run_id: str
    fits: Fits
    quick: bool = False
    slices: SliceReport | None = None


class Recipe(Protocol):
    """What a family's `recipe.py` offers."""

    MODELS: Sequence[str]
    """Names of the models that it trains."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the family's options to a command line."""

    def from_arguments(self, arguments: argparse.Namespace, home: Path) -> Any:
        """Return the options of a training run; its records are kept under `home`."""

    def load(self, options: Any, console: Console) -> tuple[Any, Manifest]:
        """Return what it would train on, and show how recorded data was read; of families with ``--data``."""

    def train(self, options: Any, console: Console | None = None) -> Mapping[str, Any]:
        """Train the family's models; return what was trained by model, nothing in a process that only helps."""


class Releasing(Protocol):
    """What a family's `release.py` offers."""

    def release(self, trained: Any, version: str) -> Release:
        """Return what the archive of one trained model is made of."""


class CrossValidation(Protocol):
    """What a family's `cross_validation.py` offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of the evaluation to a command line."""

    def evaluate(self, arguments: argparse.Namespace, console: Console) -> None:
        """Evaluate on the recorded data that the command line names, and print tables."""


class Labelling(Protocol):
    """What a family's `labelled.py` offers."""

    def labelled(self, path: Path, contract: Contract, style: Style, console: Console) -> tuple[Labelled, Manifest]:
        """Read recorded rows as requests with their right answers, and the hashes of their files."""


def families(having: str = "release") -> list[str]:
    """Return the names of the families whose folder has a module of that name."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{having}.py") if (path.parent / "recipe.py").exists())


def recipe(family: str) -> Recipe:
    """Import a family's recipe."""
    return cast(Recipe, importlib.import_module(f"training.{family}.recipe"))


def rule_of(family: str, model: str) -> Rule | None:
    """Return by which metric a model is promoted, and how good it must be: its recipe's `RULES`; None: the usual."""
    rules: Mapping[str, Rule] = getattr(recipe(family), "RULES", {}) if family in families() else {}
    return rules.get(model)


def edited_rules(family: str) -> str | None:
    """Return which model is trained with rules that people edit, as ``--rules``: its recipe's `EDITED_RULES`."""
    model: str | None = getattr(recipe(family), "EDITED_RULES", None)
    return model


def tags_of(family: str, model: str) -> Mapping[str, str]:
    """Return what is noted in MLflow on a version that was trained automatically: its recipe's `TAGS`."""
    tags: Mapping[str, Mapping[str, str]] = getattr(recipe(family), "TAGS", {})
    return tags.get(model, {})


def releasing(family: str) -> Releasing:
    """Import what makes a family's releases."""
    return cast(Releasing, importlib.import_module(f"training.{family}.release"))


def cross_validation(family: str) -> CrossValidation:
    """Import a family's cross-validation."""
    return cast(CrossValidation, importlib.import_module(f"training.{family}.cross_validation"))


def labelling(family: str) -> Labelling:
    """Import what reads a family's labelled rows."""
    return cast(Labelling, importlib.import_module(f"training.{family}.labelled"))
