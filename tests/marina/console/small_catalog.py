"""A small model of the catalogue that is trained in seconds, the rows that come later, and rows that are kept aside."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pandas as pd

from archives.keys import signing_key
from archives.registry import Registry
from demo.versions import COLUMNS, EASY, products_like
from demo.year_plan import CODES
from training.catalog.recipe import MODEL, TrainOptions, train
from training.catalog.release import release
from training.packaging.archive import build

EACH, LATER, HELD_OUT = 12, 800, 300
"""Products of each code that the first version learns from; all that the second one does; those that none does."""


@dataclass(frozen=True)
class SmallCatalog:
    """A first version, and its data.

    Attributes
    ----------
    archive
        Of version 1.0, which is registered.
    goods, held_out
        What the family is trained on, as it is now, and what versions are compared on.
    """

    archive: Path
    goods: Path
    held_out: Path
    _later: pd.DataFrame

    @classmethod
    def make(cls, folder: Path, home: Path, store: Path) -> Self:
        """Generate the products, and train and build the first version on a few of them."""
        table = products_like(replace(EASY, products=3_500))
        table = table[table["prdtypecode"].isin(CODES)]
        goods, held_out = folder / "goods.csv", folder / "held_out.csv"
        table[table["family"] % 3 == 0][COLUMNS].head(HELD_OUT).to_csv(held_out, index=False)
        table = table[table["family"] % 3 != 0]
        few = table.groupby("prdtypecode").head(EACH)
        few[COLUMNS].to_csv(goods, index=False)
        trained = train(TrainOptions(home=home, data=str(goods), trials=1))[MODEL]
        built = build(release(trained, "1.0"), store, signing_key(None, home))
        Registry(home).register(built.path)
        later = pd.concat([few, table.drop(few.index)]).head(LATER)
        return cls(built.path, goods, held_out, later[COLUMNS])

    def grow(self) -> None:
        """Let the later products come."""
        self._later.to_csv(self.goods, index=False)

    def question(self) -> dict[str, str]:
        """Return what a user asks."""
        return {"designation": str(self._later["designation"].iloc[-1]), "description": ""}
