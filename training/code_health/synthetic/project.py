"""A simulated project that grows commit by commit: people, files, hidden defects, and repairs that come late.

People of different habits and zeal join and leave; files grow and tangle; a commit may write a defect, more likely if
it is large, scattered, by a stranger to the code, under pressure, or in code that is tangled, forgotten or fragile. Of
these causes fragility and pressure are observed by no one. A defect is found weeks or years later, or never while
anybody looks, and repaired by another commit. Some repairs do not say so, some commits say "fix" and repair nothing,
and some repairs blame the wrong commit: what git histories tell of defects is such hearsay too (Herzig et al., ICSE
2013). What makes a defect likely differs between projects and drifts over the years.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Final

import numpy as np

from training.code_health.synthetic.entities import Commit, File, Person

ANOMALIES: Final = ("bulk", "stranger", "scatter", "wipe")
"""Kinds of unusual commits: a reformatting or an import of foreign code; a newcomer who rewrites a core file; a
small change all over the place; the removal of most of some files."""

UNTOLD_REPAIRS, FALSE_REPAIRS, WRONG_BLAME = 0.12, 0.04, 0.12
"""Shares: of repairs that do not say so, of other commits that say so, and of repairs that blame the wrong commit."""

MOST_A_DAY: Final = 3.5
"""Commits; from this many on none is followed by another: in one project in a hundred each would have more than one."""


class SimulatedProject:
    """One project.

    Parameters
    ----------
    generator
        Source of all its chance.
    days
        How long it is watched.
    anomalies
        Share of unusual commits.
    """

    def __init__(self, generator: np.random.Generator, days: float, anomalies: float) -> None:
        self.chance, self.days, self.anomalies = generator, days, anomalies
        draw = generator.normal
        self.quality = draw()
        self.directories = int(generator.integers(4, 14))
        self.rate = math.exp(draw(math.log(0.42), 0.4))  # commits a day
        self.size_habit, self.nesting_habit = draw(0, 0.3), math.exp(draw(math.log(1.6), 0.25))
        self.breaks = draw(-3.6 - 0.3 * self.quality, 0.4)  # log odds of a defect before anything is known of a commit
        self.effects = 1 + draw(0, 0.3, 8)
        self.drift = draw(0, 0.12, 8)  # a year
        self.latency = math.log(75) + draw(0, 0.3)
        self.waves: list[float] = draw(0, 1, 4).tolist()
        linear = bool(generator.random() < 0.25)
        self.no_imports = bool(generator.random() < 0.10)
        self.no_authors = bool(generator.random() < 0.05)
        self.merging = 0.0 if linear else float(generator.uniform(0.1, 0.6))
        self.branching = math.exp(draw(1.2, 0.5))  # days
        self.conflicting = float(generator.beta(1.2, 14))
        self.files: list[File] = []
        self.commits: list[Commit] = []
        self.blamed: dict[int, float] = {}  # commit: when it was first repaired, as far as the history says so
        self.people = [self._person(-200.0 * generator.random()) for _ in range(3 + generator.poisson(6))]
        for _ in range(int(math.exp(draw(math.log(45), 0.5)))):
            self._new_file(0.0, int(generator.integers(self.directories)))

    def run(self, on_commit: Callable[[int], None], on_month: Callable[[float], None]) -> None:
        """Let it happen, telling of every commit as it arrives and of every thirtieth day."""
        chance = self.chance
        queue: list[tuple[float, int, str, int]] = []  # time, tie-breaker, what, about which commit or file

        def schedule(time: float, what: str, about: int = -1) -> None:
            if time < self.days and len(self.commits) < MOST_A_DAY * self.days:
                heapq.heappush(queue, (time, len(queue) + int(time * 1e6) % 997, what, about))

        for time in np.sort(chance.random(chance.poisson(self.rate * self.days * 1.3)) * self.days).tolist():
            if chance.random() < self._activity(time):
                schedule(time, "work")
        for month in np.arange(30.0, self.days, 30.0).tolist():
            schedule(month, "month")
        while queue:
            time, _, what, about = heapq.heappop(queue)
            if what == "month":
                on_month(time)
                continue
            if chance.random() < 0.004:
                self.people.append(self._person(time))
            number = self._arrive(time, what, about, schedule)
            on_commit(number)

    def pressure(self, time: float) -> float:
        """How hurried all are: hidden, changes over months."""
        first, second, third, _ = self.waves
        return float(0.35 * first * math.sin(time / 53 + 3 * second) + 0.25 * third * math.sin(time / 190 + second))

    def _activity(self, time: float) -> float:
        weekend = 0.35 if int(time) % 7 >= 5 else 1.0
        return weekend * (0.75 + 0.2 * math.sin(time / 58 + self.waves[3]) + 0.05 * self.waves[0] / 3)

    def _person(self, time: float) -> Person:
        chance = self.chance
        return Person(
            joined=time,
            leaves=time + float(chance.exponential(700)) + 30,
            zeal=math.exp(chance.normal(0, 1.2)),
            hour=float(chance.normal(0.6, 0.12)),
            home=int(chance.integers(self.directories)),
        )

    def _new_file(self, time: float, directory: int) -> int:
        chance, tidy = self.chance, self.quality
        later = time / 365 * 0.15  # tests and documentation become customary
        self.files.append(
            File(
                directory=directory,
                created=time - (float(chance.exponential(500)) if time == 0 else 0),
                lines=math.exp(chance.normal(4.7 + self.size_habit, 0.95)),
                opaque=bool(chance.random() < 0.12),
                length=math.exp(chance.normal(2.5, 0.4)),
                complexity=1 + math.exp(chance.normal(0.6 - 0.12 * tidy, 0.5)),
                nesting=self.nesting_habit * math.exp(chance.normal(0, 0.2)),
                documentation=float(chance.beta(2.2 + 0.6 * max(tidy, -2), 9)),
                duplication=float(chance.beta(0.5, 7 + tidy)),
                covered=bool(chance.random() < 1 / (1 + math.exp(-0.8 * tidy - later + 0.2))),
                debt=float(chance.exponential(1.3)) * (chance.random() < 0.5),
                imports=int(chance.poisson(math.exp(chance.normal(1.7, 0.5)))),
                importers=0,
                fragile=float(chance.normal(0, 0.4)),
            )
        )
        for _ in range(min(3, self.files[-1].imports)):
            self.files[int(len(self.files) * chance.random() ** 2)].importers += 1  # what is old is imported most
        return len(self.files) - 1

    def _author(self, time: float) -> int:
        zeal = np.array([one.zeal if one.joined <= time < one.leaves else 0.0 for one in self.people])
        if not zeal.any():
            self.people.append(self._person(time))
            return len(self.people) - 1
        return int(np.searchsorted(np.cumsum(zeal), self.chance.random() * zeal.sum(), side="right"))

    def _arrive(self, time: float, what: str, about: int, schedule: Callable[..., None]) -> int:
        """Make the next commit, and what follows from it."""
        chance = self.chance
        unusual = ANOMALIES[int(chance.integers(4))] if what == "work" and chance.random() < self.anomalies else ""
        if what == "follow":
            author = self.commits[about].author
        elif unusual in ("stranger", "scatter") and chance.random() < 0.8:
            self.people.append(self._person(time))
            author = len(self.people) - 1
        else:
            author = self._author(time)
        if what != "repair":  # work keeps its author's hour; repairs come when they come
            time = int(time) + self._hour(author)
        time = max(time, self.commits[-1].time) if self.commits else time
        files, added, deleted = self._changes(time, what, about, author, unusual)
        breaks = chance.random() < self._odds(time, files, added, author, bool(unusual), what)
        number = len(self.commits)
        repaired = self._blame(about) if what == "repair" else ()
        says_fix = bool(chance.random() < (1 - UNTOLD_REPAIRS if what == "repair" else FALSE_REPAIRS))
        self.commits.append(self._commit(time, author, files, added, deleted, says_fix, repaired, bool(unusual)))
        if says_fix:
            for blamed in repaired:
                self.blamed.setdefault(blamed, time)
        if breaks:
            used = math.log1p(max(self.files[one].importers + len(self.files[one].touched) / 4 for one in files))
            schedule(time + math.exp(chance.normal(self.latency - 0.35 * used, 0.9)), "repair", number)
        follow = 0.15 + 0.12 * math.log1p(sum(added)) / 3 + 0.1 * math.log(len(files))
        if what != "follow" or chance.random() < 0.4:
            for _ in range(int(chance.poisson(min(follow, 1.5)))):
                schedule(time + float(chance.exponential(8)), "follow", number)
        return number

    def _hour(self, author: int) -> float:
        return float(np.clip(self.chance.normal(self.people[author].hour, 0.08), 0.01, 0.99))

    def _blame(self, guilty: int) -> tuple[int, ...]:
        if self.chance.random() >= WRONG_BLAME:
            return (guilty,)
        others = [one for number in self.commits[guilty].files for one in self.files[number].touched[-4:]]
        return (others[int(self.chance.integers(len(others)))],)

    def _changes(
        self, time: float, what: str, about: int, author: int, unusual: str
    ) -> tuple[list[int], list[float], list[float]]:
        """Choose the files a commit touches, and the lines it adds to and deletes from each."""
        chance = self.chance
        if what == "repair":
            old = self.commits[about].files
            files = {old[int(chance.integers(len(old)))]}
            if chance.random() < 0.35:
                files.add(self._some_file(self.files[next(iter(files))].directory))
            return self._lines(sorted(files), 1.6, 0.9, 0.9)
        if what == "follow":
            old = self.commits[about].files
            files = {old[int(chance.integers(len(old)))] for _ in range(1 + chance.poisson(0.6))}
            return self._lines(sorted(files), 1.9, 1.2, 0.75)
        home = self.people[author].home if chance.random() < 0.7 else int(chance.integers(self.directories))
        number = min(30, 1 + int(chance.exponential(0.4) + (math.exp(chance.normal(0.2, 1.1)) - 0.6) * 0.9))
        if unusual == "bulk":
            number = int(math.exp(chance.normal(2.9, 0.5)))
            return self._lines(self._choose(number, -1), 4.2, 0.7, float(chance.choice([0.1, 1.0])))
        if unusual == "stranger":
            core = sorted(range(len(self.files)), key=lambda one: -len(self.files[one].touched))[:12]
            chosen = [core[int(chance.integers(len(core)))]]
            return self._lines(chosen, math.log1p(self.files[chosen[0]].lines) - 0.5, 0.4, 0.95)
        if unusual == "scatter":
            return self._lines(self._choose(number + 7, -1), 0.7, 0.4, 1.0)
        if unusual == "wipe":
            chosen = self._choose(1 + number // 2, home)
            gone = [self.files[one].lines * float(chance.uniform(0.5, 0.95)) // 1 for one in chosen]
            return chosen, [0.0] * len(chosen), gone
        chosen = self._choose(number, home)
        if chance.random() < 0.16:
            chosen.append(self._new_file(time, home))
        smaller = -0.12 * time / 365  # commits become smaller over the years
        return self._lines(sorted(set(chosen)), 2.3 + self.size_habit + smaller, 1.25, 0.6)

    def _choose(self, number: int, home: int) -> list[int]:
        return sorted({self._some_file(home) for _ in range(number)})

    def _some_file(self, home: int) -> int:
        """Pick a file: where the last work was, or more often where more work was; in a directory, or anywhere (-1)."""
        chance = self.chance
        if self.commits and chance.random() < 0.7:
            back = min(len(self.commits), 1 + int(chance.exponential(60)))
            one = self.commits[-back].files
            chosen = one[int(chance.integers(len(one)))]
            if home < 0 or self.files[chosen].directory == home or chance.random() < 0.25:
                return chosen
        tries = [int(chance.integers(len(self.files))) for _ in range(4)]
        return next((one for one in tries if home < 0 or self.files[one].directory == home), tries[0])

    def _lines(
        self, files: list[int], mean: float, spread: float, deleting: float
    ) -> tuple[list[int], list[float], list[float]]:
        sizes = np.exp(self.chance.normal(mean, spread, len(files))).round()
        share = deleting * np.exp(self.chance.normal(-0.4, 0.8, len(files)))
        room = np.array([self.files[one].lines for one in files])
        return files, np.maximum(sizes, 1).tolist(), np.minimum(np.round(sizes * share), room // 1).tolist()

    def _odds(self, time: float, files: list[int], added: list[float], author: int, unusual: bool, what: str) -> float:
        """Return how likely a commit writes a defect."""
        touched = [self.files[one] for one in files]
        size = math.log1p(sum(added))
        large = _soft(2.5 * (size - 2.8))
        strange = _soft((18 - self.people[author].past) / 4)
        tangled = _soft(3 * (max(one.complexity for one in touched) - 3.2))
        covered = sum(one.covered for one in touched) / len(touched)
        worn = _soft(2 * (math.log1p(sum(len(one.touched) for one in touched) / len(touched)) - 2.6))
        used = _soft(max(one.importers for one in touched) - 6.0)
        rest = max(time - (self.commits[one.touched[-1]].time if one.touched else one.created) for one in touched)
        causes = np.array(
            [
                0.40 * (size - 2.3) + 0.35 * math.log(len(files)),
                1.9 * strange * large,  # a stranger's small change is as safe as anybody's
                1.9 * tangled * large,
                -1.9 * covered * large,  # tests catch what large changes break
                1.5 * worn * (1 - strange),
                1.4 * used * (1 - covered),
                1.2 * _soft((rest - 100) / 15),  # no one remembers
                0.6 * (what == "repair"),
            ]
        )
        known = float((causes * (self.effects + self.drift * time / 365)).sum())
        hidden = max(one.fragile for one in touched) + self.pressure(time) + 0.7 * unusual
        return _soft(self.breaks + known + hidden)

    def _commit(
        self,
        time: float,
        author: int,
        files: list[int],
        added: list[float],
        deleted: list[float],
        says_fix: bool,
        repaired: tuple[int, ...],
        unusual: bool,
    ) -> Commit:
        """Enter a commit into its files and its author's past."""
        chance, number = self.chance, len(self.commits)
        for one, plus, minus in zip(files, added, deleted, strict=True):
            file = self.files[one]
            file.touched.append(number)
            file.lines = max(1.0, file.lines + plus - minus)
            moved = min(1.0, (plus + minus) / file.lines)
            file.complexity *= 1 + float(chance.normal(0.02 if chance.random() > 0.06 else -0.25, 0.05)) * moved
            file.complexity = min(max(file.complexity, 1.0), 40.0)
            file.debt = max(0.0, file.debt + float(chance.normal(0.02, 0.3)) * moved)
            file.documentation = min(max(file.documentation + float(chance.normal(0, 0.03)) * moved, 0.0), 0.8)
        self.people[author].past += len(files)
        merge = bool(chance.random() < self.merging)
        forked = time - float(chance.exponential(self.branching)) if merge else time
        conflicted = merge and bool(chance.random() < self.conflicting)
        return Commit(
            time, author, tuple(files), tuple(added), tuple(deleted), says_fix, repaired, unusual, merge, conflicted,
            forked,
        )  # fmt: skip


def _soft(value: float) -> float:
    """Return a step from 0 to 1 that is not sharp: the logistic function."""
    return (1 + math.tanh(value / 2)) / 2  # however far from 0
