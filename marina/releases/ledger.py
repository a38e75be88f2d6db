"""The ledger: every change of what is live, in rows that are only ever added, each chained to the hash of the last.

A row that is changed, taken out or put in later no longer fits the hashes after it. That its end was cut off, or that
all of it was rewritten, a chain cannot show by itself: see `marina.releases.heads` and `marina.rollout.audit`.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import sqlalchemy as sa

from archives.keys import Key
from archives.signatures import encoding
from marina.database.tables import DECLARATIONS, LEDGER

FIRST = "0" * 64
"""What the first row names as the hash before it."""

SETTLED = ("declare", "done")
"""Actions after which a model's champion is another, and no rollout is under way."""

HEAD = "application/vnd.marina.ledger-head+json"
"""What kind of thing is signed, so that no signature of something else can stand for it."""

KEY = "ledger_key"
"""The name under which a connection carries the key."""

FLAG = "flag:"
"""What rows about a feature flag have before its name, in the place of a model's: no model is called so."""

_LOCK = 727465


def canonical(values: object, *, allow_infinite: bool = False) -> str:
    """Write JSON of which equal values give equal texts.

    Raises
    ------
    ValueError
        When a number is none, or infinite where that is not allowed: no JSON has such.
    """
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=allow_infinite)


@dataclass(frozen=True)
class Entry:
    """A row of the ledger.

    Attributes
    ----------
    seq
        Its number, from 1.
    time
        Seconds since 1970.
    who
        Who did it: a person, or ``controller``.
    action
        What was done, in a word or two.
    model
        The model whose versions it is about.
    details
        JSON text. ``live`` holds the model's versions after it, by version: each one's ``weight``, ``sha256``,
        ``archive``, and who it was ``signed_by``.
    previous, hash
        SHA-256 of the row before, and of this one.
    signer, signature
        Id of the key that signed the hash, and that signature in base64; None in rows from before there were any.
    """

    seq: int
    time: float
    who: str
    action: str
    model: str
    details: str
    previous: str
    hash: str
    signer: str | None = None
    signature: str | None = None

    @functools.cached_property
    def said(self) -> dict[str, Any]:
        """What its details say."""
        return dict(json.loads(self.details))

    @property
    def live(self) -> dict[str, dict[str, Any]]:
        """The model's versions after it."""
        return dict(self.said["live"])

    @property
    def weights(self) -> dict[str, float]:
        """The shares of the traffic after it, by version, relative to each other."""
        return {version: one["weight"] for version, one in self.live.items()}

    @property
    def champion(self) -> str | None:
        """The version with the largest share of the traffic after it; None if none has any."""
        weights = self.weights
        return max(weights, key=lambda version: weights[version]) if any(weights.values()) else None

    def compute_hash(self) -> str:
        """Compute the hash that belongs to the row's contents: SHA-256 of canonical JSON of the columns before it."""
        contents = asdict(self)
        for name in ("hash", "signer", "signature"):
            del contents[name]
        return hashlib.sha256(canonical(contents).encode()).hexdigest()

    def head(self) -> bytes:
        """Return what is signed of it: its number and its hash, which stands for all rows up to it."""
        return encoding(HEAD, canonical({"seq": self.seq, "hash": self.hash}).encode())

    def signed(self, key: Key) -> "Entry":
        """Return the row with a signature."""
        return replace(self, signer=key.id, signature=base64.b64encode(key.sign(self.head())).decode())


class Champion(NamedTuple):
    """A version that had a model's traffic, with the hash and the path of its archive."""

    version: str
    sha256: str
    archive: str


def lock(connection: sa.Connection) -> None:
    """Wait until no one else changes releases, and let no one else do so until this transaction ends.

    Each transaction that changes rollouts, declarations or leases begins with it, so that what it reads after it is
    still so when it writes. On SQLite every writing transaction is alone anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def append(connection: sa.Connection, who: str, action: str, model: str, details: dict[str, Any], now: float) -> None:
    """Add a row, with what is live after it as the declarations say: change them before, in the same transaction.

    Parameters
    ----------
    connection
        An open writing transaction. The row is signed with the key that it carries
        (`marina.releases.heads.open_database`).
    who
        Who did it.
    action
        What was done, at most 32 characters.
    model
        The model it is about.
    details
        Whatever else is worth keeping, as JSON values: why, on which evidence.
    now
        Seconds since 1970.
    """
    lock(connection)
    head = connection.execute(sa.select(LEDGER.c.seq, LEDGER.c.hash).order_by(LEDGER.c.seq.desc()).limit(1)).first()
    declared = connection.execute(
        sa.select(DECLARATIONS).where(DECLARATIONS.c.model == model).order_by(DECLARATIONS.c.version)
    )
    live = {
        row.version: {"weight": row.weight, "sha256": row.sha256, "archive": row.archive, "signed_by": row.signed_by}
        for row in declared
    }
    open_row = Entry(
        seq=head.seq + 1 if head else 1,
        time=now,
        who=who,
        action=action,
        model=model,
        details=canonical(details | {"live": live}),
        previous=head.hash if head else FIRST,
        hash="",
    )
    hashed = replace(open_row, hash=open_row.compute_hash())
    key = connection.get_execution_options().get(KEY)
    connection.execute(sa.insert(LEDGER), asdict(hashed.signed(key) if isinstance(key, Key) else hashed))


def declared(connection: sa.Connection, who: str, models: Iterable[str], now: float) -> None:
    """Add a row for each model whose declarations are not what the ledger last said; nothing where they are.

    For a supervisor, in the transaction in which it declared what it was started with: `models` names every model that
    was declared before or is now.
    """
    lock(connection)
    for model in sorted(set(models)):
        last = next(entries(connection, model, newest_first=True), None)
        rows = connection.execute(sa.select(DECLARATIONS).where(DECLARATIONS.c.model == model))
        now_live = {row.version: (row.weight, row.sha256) for row in rows}
        was_live = {version: (one["weight"], one["sha256"]) for version, one in last.live.items()} if last else {}
        if now_live != was_live:
            append(connection, who, "declare", model, {"why": "declared when the server was started"}, now)


def entries(connection: sa.Connection, model: str | None = None, newest_first: bool = False) -> Iterator[Entry]:
    """Read the ledger, or what it says of one model."""
    query = sa.select(LEDGER).order_by(LEDGER.c.seq.desc() if newest_first else LEDGER.c.seq)
    if model is not None:
        query = query.where(LEDGER.c.model == model)
    for row in connection.execute(query):
        yield Entry(**row._mapping)


def verify(connection: sa.Connection) -> list[str]:
    """Check every row against its hash and the row before it, and nothing else; `marina.rollout.audit` checks the rest.

    Returns
    -------
    list of str
        One sentence per fault, naming the row by its number; empty when the chain is whole.
    """
    faults = []
    seq, previous = 0, FIRST
    for entry in entries(connection):
        if entry.seq != seq + 1:
            faults.append(f"row {seq + 1}: missing; after row {seq} comes row {entry.seq}")
        elif entry.previous != previous:
            faults.append(f"row {seq}: hashed again after row {entry.seq} was added, which names another hash of it")
        if entry.compute_hash() != entry.hash:
            faults.append(f"row {entry.seq}: changed after it was hashed ({entry.action} of {entry.model})")
        seq, previous = entry.seq, entry.hash
    return faults


def live_at(connection: sa.Connection, when: float) -> dict[str, dict[str, float]]:
    """Compute from the ledger alone which versions were live at a time.

    Returns
    -------
    dict
        Per model, each declared version's weight. Models of which nothing was declared are left out.
    """
    newest = sa.select(sa.func.max(LEDGER.c.seq)).where(LEDGER.c.time <= when).group_by(LEDGER.c.model)
    rows = connection.execute(sa.select(LEDGER).where(LEDGER.c.seq.in_(newest)))
    found = {row.model: Entry(**row._mapping).weights for row in rows}
    return {model: weights for model, weights in found.items() if weights}


def champions(connection: sa.Connection, model: str) -> Iterator[Champion]:
    """Read which versions had the traffic, the present one first; one that had it twice comes twice."""
    for entry in entries(connection, model, newest_first=True):
        version = entry.champion
        if entry.action in SETTLED and version is not None:
            one = entry.live[version]
            yield Champion(version, str(one["sha256"]), str(one["archive"]))


def previous_champion(connection: sa.Connection, model: str) -> Champion | None:
    """Find the version that had the traffic before the current one; None when the ledger knows of no other."""
    known = champions(connection, model)
    present = next(known, None)
    return next((one for one in known if present and one.version != present.version), None)
