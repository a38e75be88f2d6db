"""What a start serves: what is declared; or, where the database cannot be used, what was served last."""

import contextlib
import getpass
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from archives.signatures import Trust
from archives.store import describe_foreign, shelf
from marina.database.connection import Database, DatabaseError
from marina.processes.console import log
from marina.releases import label_sets, ledger
from marina.releases.declarations import Declaration, DeclarationError, Declared, read_archive
from marina.releases.heads import open_database
from marina.rollout import rollouts
from marina.settings import Settings

WAIT_MS = 5_000
PATIENCE_S = 30.0
"""A database that has not said by then what is declared is taken for one that cannot be used."""


@dataclass(frozen=True)
class StartVersions:
    """What a start found.

    Attributes
    ----------
    declared
        What should run, the newest first.
    upgraded
        Whether the database said so, and has its tables; else it is a note of what was served last.
    """

    declared: list[Declared]
    upgraded: bool


def choose_start_versions(settings: Settings, declaration: Declaration, archives: Sequence[Declared]) -> StartVersions:
    """Find out what is to be served.

    Parameters
    ----------
    archives
        Declared in place of whatever was declared before. None: that continues; of models that are not declared, the
        newest version in the store is.

    Raises
    ------
    DeclarationError
        When there is nothing to serve.
    DatabaseError
        When the database cannot be used, and nothing tells what was served last.
    """
    database: Database | None = None
    try:
        database = open_database(settings, WAIT_MS, first=True)
        return StartVersions(_within(PATIENCE_S, lambda: _ask(settings, database, declaration, archives)), True)
    except (DatabaseError, sa.exc.SQLAlchemyError, TimeoutError) as error:
        words = str(error).splitlines()[0]
        noted = [] if archives else declaration.noted()
        if not noted:
            raise DatabaseError(
                f"{words}. Repair it first: see docs/OPERATIONS.md."
                + (" Until then, a start without --archive serves the last served versions." if archives else "")
            ) from error
        log(f"THE DATABASE CANNOT BE USED: {words}")
        log(
            f"serving the last served versions: {', '.join(map(str, noted))}. Labels and rollouts wait for the database"
        )
        return StartVersions(noted, False)
    finally:
        if database is not None:
            database.close()


def offered(store: Path, trust: Trust, known: Collection[str] = ()) -> list[Declared]:
    """Return the newest version of each model in the store that can be read; what cannot is said, and passed over.

    Parameters
    ----------
    trust
        Whose archives may run here.
    known
        Models to leave out.
    """
    found: dict[str, Declared] = {}
    on_shelf, odd = shelf(store)
    for words in odd:
        log(f"in the store, skipped: {words}. The others are served")
    for one in reversed(on_shelf):
        if one.model in known or one.model in found:
            continue
        try:
            found[one.model] = read_archive(one.path, trust=trust)
        except Exception as error:  # whatever lies in the store, what is declared starts
            place = "" if one.path.name in str(error) else f"{one.path.name}: "
            foreign = describe_foreign(one.path)
            words = f"{one.path.name} {foreign}" if foreign else f"{place}{error}"
            log(f"in the store, skipped: {words}. The others are served")
    return sorted(found.values(), key=lambda one: one.model)


def _ask(
    settings: Settings, database: Database, declaration: Declaration, archives: Sequence[Declared]
) -> list[Declared]:
    for fault in database.faults():
        log(f"THE DATABASE IS DAMAGED: {fault}. Restore its backup: see docs/OPERATIONS.md")
    database.upgrade()
    if not archives:
        return _restore(settings, database, declaration)
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        declaration.replace(connection, archives)
        disturbed = {one.model for one in rollouts.open_rollouts(connection, log)}
        why = "a server was started with archives of its own"
        rollouts.abort_open(connection, disturbed, getpass.getuser(), time.time(), why, log)
        return declaration.read(connection)


def _restore(settings: Settings, database: Database, declaration: Declaration) -> list[Declared]:
    with database.reading() as connection:
        declared = declaration.read(connection)
    served = [] if declared else declaration.noted()
    if declared:
        log(f"restoring the desired versions: {', '.join(map(str, declared))}")
    elif served:
        log(f"the database is empty; restoring the last served versions: {', '.join(map(str, served))}")
    known = {one.model for one in [*declared, *served]}
    added = []
    for one in [*served, *offered(settings.archive_store, declaration.trust, known)]:
        try:
            declaration.keep(one)
            added.append(one)
        except DeclarationError as error:
            log(f"skipped: {error}")
    if not declared and not added:
        store = settings.archive_store
        if any(store.glob("*.mar")):
            raise DeclarationError(f"There is no archive in {store} that may run here: the reasons are above.")
        raise DeclarationError(f"There is no archive in {store}: build one (make archive).")
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        known = {one.model for one in declaration.read(connection)}
        declaration.add(connection, [one for one in added if one.model not in known])
        declared = declaration.read(connection)
    _note_labels(database, declaration)
    _name_what_waits(settings.archive_store, declared)
    return declared


def _note_labels(database: Database, declaration: Declaration) -> None:
    """Write down classes and kind of truth of versions that were declared when they were not kept, or from a note."""
    with database.reading() as connection:
        missing = label_sets.list_missing(connection)
        declared = [one for one in declaration.read(connection) if (one.model, one.version) in missing]
    found: list[Declared] = []
    for one in declared:
        with contextlib.suppress(DeclarationError):  # the supervisor says why it cannot be served
            found.append(declaration.fetch(one))
    if found:
        with database.writing() as connection:
            for one in found:
                label_sets.write_label_set(connection, one.model, one.version, one.labels or (), one.truth)


def _name_what_waits(store: Path, declared: Sequence[Declared]) -> None:
    """Say which models have a newer version in the store than is declared."""
    there = {(one.model, one.version) for one in declared}
    for newest in {one.model: one for one in shelf(store)[0]}.values():
        if (newest.model, newest.version) not in there and newest.model in {model for model, _ in there}:
            log(f"{newest.model} {newest.version} is in the store and not deployed: release it with")
            command = f"python scripts/deploy_canary.py --model {newest.model} --version {newest.version}"
            log(f"  {command}   (or serve --newest)")


def _within(seconds: float, work: Callable[[], list[Declared]]) -> list[Declared]:
    """Do something in a thread; one that takes longer is left to itself."""
    done: list[list[Declared] | BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            done.append(error)

    thread = threading.Thread(target=run, name="beginning", daemon=True)
    thread.start()
    thread.join(seconds)
    if not done:
        raise TimeoutError(f"the database does not answer for {seconds:g} s")
    if isinstance(done[0], BaseException):
        raise done[0]
    return done[0]
