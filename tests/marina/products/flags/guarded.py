"""Households that use a product while a flag is rolled out."""

import random
from collections.abc import Callable

from marina.database.connection import Database
from marina.products.flags import guard
from marina.products.flags.outcomes import Outcome, Truth, mark, record
from marina.products.flags.provider import Flags
from marina.products.flags.table import Flag, read_flags

FLAG = "ml_categorization"
DAY_S = 86_400.0


class Households:
    """Asks for categories, a round of one hour after another, and says which were right."""

    def __init__(self, database: Database, users: int, right: Callable[[bool], float], seed: int = 0) -> None:
        self.database, self.now = database, 1000.0
        self._users = [f"household-{seed}-{number}" for number in range(users)]
        self._right, self._chance = right, random.Random(seed)
        self.asked = 0
        self.flags = Flags(self._read)

    def _read(self) -> dict[str, Flag]:
        with self.database.reading() as connection:
            return read_flags(connection)

    def begin(self) -> None:
        with self.database.writing() as connection:
            guard.start(connection, FLAG, "ann", "hybrid beside rules", self.now)
        self.flags.refresh()

    def ask(self, fails: Callable[[bool], float] = lambda _: 0.002) -> None:
        """Have each household ask once, an hour later."""
        self.now += 3600
        outcomes, truths = [], []
        for user in self._users:
            item = f"request-{self.asked}"
            self.asked += 1
            drawn = self.flags.draw(FLAG, user)
            if drawn is None:
                continue
            error = self._chance.random() < fails(drawn.arm)
            outcomes.append(Outcome(drawn, item, self.now, error))
            if not error:
                truths.append(Truth(item, self._chance.random() < self._right(drawn.arm), self.now))
        with self.database.writing() as connection:
            record(connection, outcomes)
            mark(connection, truths)

    def step(self) -> list[guard.Judged]:
        done = guard.step(self.database, self.now, lambda _: None)
        self.flags.refresh()
        return done

    @property
    def guard(self) -> guard.Guarded:
        with self.database.reading() as connection:
            return guard.latest(connection, FLAG)[0]

    @property
    def share(self) -> float:
        return self._read()[FLAG].share
