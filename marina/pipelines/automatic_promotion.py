"""Decides on a registered version, records that, and begins its canary rollout where it is to be released.

registry ─> candidate, production ─ look (ledger) ─> paired test on held-out rows ─> decision
decision ─> ledger and rollout, MLflow, message, decisions file
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from archives.archive import Archive
from archives.errors import MarinaError
from archives.registry import Registered, Registry
from marina.database.connection import Database
from marina.database.tables import DECLARATIONS
from marina.monitoring.alerts import LEVELS, Level
from marina.monitoring.channels import Channel, ChannelError, LogChannel, Message
from marina.pipelines import alpha_spending, looks
from marina.pipelines.decision import Decision, HeldOut, decide
from marina.pipelines.looks import Looked
from marina.releases import ledger
from marina.rollout import archive_lookup, rollouts
from marina.rollout.policy.schema import Policy
from marina.rollout.promotion import Measured, PromotionError, Rule
from marina.settings import Settings

FILE = "decisions.jsonl"
NAMING = ("contract.json", "provenance.json", "model-card.md", "certificate.json", "MAR-INF/MANIFEST.json")
"""Members of an archive that name its version or run, or have hashes of those that do."""


class HeldOutRows(Protocol):
    """Rows with their right answers that neither version was trained on."""

    @property
    def sha256(self) -> str:
        """Hash of their manifest."""

    def check(self, champion: Archive, candidate: Archive) -> None:
        """Raise a `archives.errors.MarinaError` where they cannot compare the two: no look is spent then."""

    def ask(self, champion: Archive, candidate: Archive) -> HeldOut:
        """Ask both versions about them."""


@dataclass(frozen=True)
class Outcome:
    """What was decided, with the rollout's number where one was begun; `again` where it had been decided before."""

    decision: Decision
    rollout: int | None = None
    again: bool = False


@dataclass(frozen=True)
class _Candidate:
    registered: Registered
    archive: Archive


@dataclass(frozen=True)
class _Champion:
    version: str
    sha256: str


class AutomaticPromotion:
    """Decides about the versions of one installation.

    Parameters
    ----------
    database
        One for a writer of the ledger (`marina.releases.heads.open_database`).
    settings
        Where registry, store and decisions file are, and what is allowed.
    who
        For the ledger.
    tell
        Tells people of a model's version and what was decided, before the decisions file has it.
    """

    def __init__(
        self, database: Database, settings: Settings, who: str, tell: Callable[[str, str, Outcome], None]
    ) -> None:
        self._database = database
        self._settings = settings
        self._who = who
        self._tell = tell
        self._registry = Registry(settings.state_dir)

    def decide(
        self, model: str, version: str, rule: Rule, policy: Policy, rows: HeldOutRows | None, now: float | None = None
    ) -> Outcome:
        """Decide about a version, once for the same archives and rows, and begin what follows from that.

        Parameters
        ----------
        rows
            Held-out rows; None where there are none, and then only a first version can be promoted.
        now
            Seconds since 1970; the clock's by default.

        Raises
        ------
        marina.rollout.promotion.PromotionError
            If the version is not registered, serves already, lacks the metric, or was trained with ``--quick``.
        marina.rollout.rollouts.RolloutOpenError
            If a rollout of the model is open, so that no look is spent on what could not be released.
        archives.contract.ArchiveError, archives.registry.RegistryError
            If an archive does not verify, or no one who is trusted signed it.
        """
        now = time.time() if now is None else now
        found = self._candidate(model, version, rule)
        try:
            champion = self._champion(model, version)
        except (PromotionError, rollouts.RolloutError):
            if (before := self._begun(model, version, found)) is None:
                raise
            return self._again(found, before, now)
        looked = Looked(found.archive.sha256, champion.sha256 if champion else "", rows.sha256 if rows else "")
        with self._database.reading() as connection:
            before = looks.decided(connection, model, looked, rule)
        if before is not None:
            return self._again(found, before, now)
        held_out, level, look, apart = None, 0.0, 0, ""
        value = Measured.of(found.archive).metrics[rule.metric]
        worth = decide(rule, value, champion.version if champion else None, None, 1.0, 0.0).outcome == "inconclusive"
        if worth and champion is not None and rows is not None:  # the bound alone decides about the rest
            archive = archive_lookup.opened(self._settings, model, champion.version, champion.sha256)
            try:
                _check_different(archive, found.archive)
                rows.check(archive, found.archive)
            except MarinaError as error:  # nothing can be shown by these rows, and no look at them is spent
                apart = f" ({error})"
            else:
                with self._database.writing(durable=True) as connection:
                    look = looks.take(connection, model, looked, self._who, now)
                level = alpha_spending.level(look)
                held_out = rows.ask(archive, found.archive)
        name = champion.version if champion else None
        bound = self._settings.ml_slice_bound if rule.slice_bound is None else rule.slice_bound
        decision = decide(rule, value, name, held_out, level, bound)
        decision = dataclasses.replace(decision, reason=decision.reason + apart)
        return self._record(found, decision, looked, look, policy, champion is not None, now)

    def _begun(self, model: str, version: str, found: _Candidate) -> dict[str, Any] | None:
        """Return the decision by which a version is being rolled out, or serves; None where it does neither."""
        with self._database.reading() as connection:
            one = rollouts.rollout_of(connection, model)
            if version not in (rollouts.stable_of(connection, model), one.canary if one else None):
                return None
            return looks.begun(connection, model, found.archive.sha256)

    def _again(self, found: _Candidate, before: dict[str, Any], now: float) -> Outcome:
        """Say once more what was decided, perhaps by a process that was ended right after it."""
        outcome = Outcome(Decision(before["outcome"], before["why"], before), before.get("rollout"), again=True)
        self._publish(found.registered, outcome, now)
        return outcome

    def _candidate(self, model: str, version: str, rule: Rule) -> _Candidate:
        registered = self._registry.find(model, version)
        if registered is None:
            raise PromotionError(
                f"{model} {version} is not registered. scripts/train.py registers what it builds; "
                "MLFLOW_TRACKING_URI says where to look."
            )
        archive = archive_lookup.opened(self._settings, model, version, registered.sha256)
        measured = Measured.of(archive)
        if rule.metric not in measured.metrics:
            raise PromotionError(
                f"{model} {version} has no metric {rule.metric!r}. Name one with --metric: "
                f"{', '.join(sorted(measured.metrics)) or 'none was logged'}"
            )
        if measured.quick and not rule.quick:
            raise PromotionError(f"{model} {version} was trained with --quick: train it without, or pass --allow-quick")
        return _Candidate(registered, archive)

    def _champion(self, model: str, version: str) -> _Champion | None:
        with self._database.reading() as connection:
            declared = sa.select(DECLARATIONS.c.version, DECLARATIONS.c.sha256).where(DECLARATIONS.c.model == model)
            if not connection.execute(declared).first():
                return None
            if (one := rollouts.rollout_of(connection, model)) is not None and one.phase != "shadow":
                raise rollouts.RolloutOpenError(
                    f"{model}: a rollout is open ({one}, {one.phase}). Decide after its end."
                )
            stable = rollouts.stable_of(connection, model)
            if version == stable:
                raise PromotionError(f"{model} {version} is served already.")
            return _Champion(*connection.execute(declared.where(DECLARATIONS.c.version == stable)).one())

    def _record(
        self, found: _Candidate, decision: Decision, looked: Looked, look: int, policy: Policy, served: bool, now: float
    ) -> Outcome:
        registered, number = found.registered, None
        model, version = registered.model, registered.version
        begin = decision.outcome == "promote" and self._settings.auto_promotion_enabled
        details = {
            **decision.details, "version": version, "candidate": looked.candidate, "champion_sha256": looked.champion,
            "held_out": looked.held_out, "look": look, "outcome": decision.outcome, "why": decision.reason,
            "begun": begin,
        }  # fmt: skip
        declared = archive_lookup.find(self._settings, model, version, sha256=registered.sha256) if begin else None
        with self._database.writing(durable=True) as connection:
            if declared is not None and served:
                number = rollouts.start(connection, declared, policy, self._who, now, why=decision.reason).id
                details["rollout"] = number
            ledger.append(connection, self._who, looks.DECISION, model, details, now)
        outcome = Outcome(Decision(decision.outcome, decision.reason, details), number)
        self._publish(registered, outcome, now)
        return outcome

    def _publish(self, registered: Registered, outcome: Outcome, now: float) -> None:
        """Say in MLflow, to people and in the decisions file what the ledger has; what was said already, once."""
        decision, details = outcome.decision, dict(outcome.decision.details)
        allowed = "promoted" if details.get("begun") else "promotion allowed"
        word = {"promote": allowed, "keep": "archived"}.get(decision.outcome, decision.outcome)
        self._registry.note(registered, {"marina.decision": word, "marina.decision.reason": decision.reason})
        details.pop("live", None)
        line = {"who": self._who, "model": registered.model, **details}
        same = ("model", "candidate", "champion_sha256", "held_out", "metric", "bound")
        path = self._settings.log_dir / FILE
        if any(all(one.get(name) == line[name] for name in same) for one in read_lines(path)):
            return
        self._tell(registered.model, registered.version, outcome)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        with path.open("a") as file:
            file.write(json.dumps({"time": now, **line}, sort_keys=True) + "\n")


def _check_different(champion: Archive, candidate: Archive) -> None:
    """Make sure that there is something to compare: a model that learns of none of the new rows comes out the same.

    Raises
    ------
    PromotionError
        If what answers is the same in both, byte for byte.
    """
    before, after = (
        {name: content for name, content in one.members.items() if name not in NAMING}
        | {"contract.json": {**one.json("contract.json"), "version": ""}}
        for one in (champion, candidate)
    )
    if before == after:
        raise PromotionError(f"{candidate.name} answers as {champion.name} does, byte for byte: it learnt nothing new")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read a decisions file; a line that was cut off is left out."""
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                yield json.loads(line)


def notify(channels: list[Channel], write: Callable[[str], None], model: str, version: str, outcome: Outcome) -> None:
    """Tell people of a decision; a channel that does not take it is named in the log."""
    decision = outcome.decision
    level: Level = "alert" if decision.outcome == "promote" else "warning"
    begun = f"; rollout {outcome.rollout} has begun" if outcome.rollout is not None else ""
    message = Message(f"Marina: {model} {version}: {decision.outcome}", f"{decision.reason}{begun}", level)
    LogChannel(write).send(message)
    for channel in channels:
        if LEVELS.index(level) >= LEVELS.index(channel.level):
            try:
                channel.send(message)
            except ChannelError as error:
                write(str(error))
