"""What a simulated project is made of: files, people and commits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(slots=True)
class File:
    """A source file; `fragile` is hidden from the measures."""

    directory: int
    created: float
    lines: float
    opaque: bool
    length: float
    complexity: float
    nesting: float
    documentation: float
    duplication: float
    covered: bool
    debt: float
    imports: int
    importers: int
    fragile: float
    touched: list[int] = field(default_factory=list)

    def code(self) -> tuple[float, ...]:
        """Return what there is to be seen, in the order of the fields of `models.code_health.arrays.Code`."""
        filled = self.lines * 0.85 // 1
        functions = 0.0 if self.opaque else max(1.0, filled // (1.3 * self.length))
        beyond = 0.5 * math.erfc((math.log(10 / self.complexity) + 0.32) / (0.8 * math.sqrt(2)))  # lognormal, 0.8
        return (
            self.lines,
            filled,
            self.documentation * filled // 1,
            functions,
            functions * self.length // 1,
            functions * self.complexity // 1,
            self.complexity * (1 + 0.45 * math.log(functions)) // 1 if functions else math.nan,
            functions * beyond // 1,
            filled * self.nesting // 1,
            self.debt // 1,
            float(self.imports),
            float(self.importers),
            filled,
            self.duplication * filled // 1,
            float(self.covered),
        )


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as the history tells it; `repaired` lists the commits it is blamed on."""

    time: float
    author: int
    files: tuple[int, ...]
    added: tuple[float, ...]
    deleted: tuple[float, ...]
    says_fix: bool
    repaired: tuple[int, ...]
    anomaly: bool
    merge: bool
    conflicted: bool
    forked: float


@dataclass(slots=True)
class Person:
    """An author: from when to when, how active, at what hour (in days), at home where, and how many files changed."""

    joined: float
    leaves: float
    zeal: float
    hour: float
    home: int
    past: int = 0
