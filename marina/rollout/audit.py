"""The ledger held against all that can contradict it: its hashes, its signatures, what it justifies, its heads."""

import base64
import hashlib
from collections.abc import Iterable, Iterator

import sqlalchemy as sa

from archives.keys import Keyring
from marina.database.tables import APPROVALS, DECLARATIONS, ROLLOUTS
from marina.releases import ledger
from marina.releases.heads import Head
from marina.releases.ledger import Entry
from marina.rollout import verdicts


def audit(connection: sa.Connection, keyring: Keyring | None = None, heads: Iterable[Head] = ()) -> list[str]:
    """Check the ledger.

    Parameters
    ----------
    connection
        Of the database.
    keyring
        The keys of those who write it; None: signatures are not looked at.
    heads
        What was noted of it elsewhere.

    Returns
    -------
    list of str
        One sentence per fault, naming the row; empty when nothing contradicts it.
    """
    rows = list(ledger.entries(connection))
    return [
        *_check_heads(rows, heads),
        *ledger.verify(connection),
        *(_check_signatures(rows, keyring) if keyring is not None else ()),
        *_check_verdicts(connection, rows),
        *_check_policies(connection, rows),
        *_check_approvals(connection, rows),
        *_check_declarations(connection, rows),
    ]


def _check_heads(rows: list[Entry], heads: Iterable[Head]) -> Iterator[str]:
    hashes = {row.seq: row.hash for row in rows}
    last = max(hashes, default=0)
    furthest: dict[str, int] = {}
    reported: set[str] = set()
    for head in heads:
        if head.seq > last:
            furthest[head.where] = max(head.seq, furthest.get(head.where, 0))
        elif not hashes.get(head.seq, head.hash).startswith(head.hash) and head.where not in reported:
            reported.add(head.where)
            yield (
                f"row {head.seq}: rewritten, and what follows with it: {head.where} has noted the hash "
                f"{head.hash[:16]}…, the ledger has {hashes[head.seq][:16]}…"
            )
    for where, seq in furthest.items():
        gone = f"the end was cut off after row {last}" if rows else "every row was deleted"
        yield f"{gone}: {where} has noted row {seq}"


def _check_signatures(rows: list[Entry], keyring: Keyring) -> Iterator[str]:
    first: int | None = None
    for row in rows:
        if row.signer is None or row.signature is None:
            if first is not None:
                yield f"row {row.seq}: is not signed; every row since {first} has to be"
            continue
        first = first or row.seq
        if row.signer in keyring.revoked:
            yield f"row {row.seq}: signed with {row.signer[:16]}…, a key that was revoked"
        elif row.signer not in keyring.keys:
            yield f"row {row.seq}: an unknown signer: signed with {row.signer[:16]}…, a key that is not known here"
        elif not keyring.holds(row.signer, row.head(), _decode(row.signature)):
            yield f"row {row.seq}: the signature is not valid: hashed by someone without the key {row.signer[:16]}…"


def _decode(signature: str) -> bytes:
    try:
        return base64.b64decode(signature, validate=True)
    except ValueError:
        return b""


def _check_verdicts(connection: sa.Connection, rows: list[Entry]) -> Iterator[str]:
    for row in rows:
        said = row.said
        if "verdict_sha256" not in said:
            continue
        found = verdicts.digest(connection, int(said["verdict"]))
        if found is None:
            yield f"row {row.seq}: verdict {said['verdict']}, which it refers to, is missing"
        elif found != said["verdict_sha256"]:
            yield f"row {row.seq}: verdict {said['verdict']} is not the one it refers to: it was replaced"


def _check_policies(connection: sa.Connection, rows: list[Entry]) -> Iterator[str]:
    policies = {row.id: row.policy for row in connection.execute(sa.select(ROLLOUTS.c.id, ROLLOUTS.c.policy))}
    for row in rows:
        number, policy_hash = row.said.get("rollout"), row.said.get("policy_sha256")
        if policy_hash is None:
            continue
        if number not in policies:
            yield f"row {row.seq}: the rollout {number} that it started is missing"
        elif hashlib.sha256(policies[number].encode()).hexdigest() != policy_hash:
            yield f"row {row.seq}: the policy of rollout {number} is not the one it started with: it was replaced"


def _check_approvals(connection: sa.Connection, rows: list[Entry]) -> Iterator[str]:
    agreed = {(row.said.get("rollout"), row.who): row for row in rows if row.action == "approve"}
    found = {(row.rollout, row.who) for row in connection.execute(sa.select(APPROVALS))}
    for number, who in sorted(found - agreed.keys(), key=str):
        yield f"rollout {number}: the approval of {who} was inserted: no row of the ledger records that {who} approved"
    for number, who in sorted(agreed.keys() - found, key=str):
        yield f"row {agreed[number, who].seq}: the approval of {who} for rollout {number} was deleted"
    for row in rows:
        for who in row.said.get("approved_by", ()):
            given = agreed.get((row.said.get("rollout"), who))
            if given is None or given.seq > row.seq:
                yield f"row {row.seq}: relies on the approval of {who}, and no row before it records that"


def _check_declarations(connection: sa.Connection, rows: list[Entry]) -> Iterator[str]:
    """Compare what runs with the last row of each model: both are written in one transaction, and read in one."""
    last = {row.model: row for row in rows}
    declared: dict[str, dict[str, tuple[float, str]]] = {model: {} for model in last}
    for one in connection.execute(sa.select(DECLARATIONS).order_by(DECLARATIONS.c.model)):
        declared.setdefault(one.model, {})[one.version] = (one.weight, one.sha256)
    for model, now in declared.items():
        row = last.get(model)
        said = {version: (one["weight"], one["sha256"]) for version, one in row.live.items()} if row else {}
        for version in sorted(now.keys() | said.keys()):
            if now.get(version) != said.get(version):
                where = (
                    f"row {row.seq}, the last of {model}, records"
                    if row
                    else f"no row is of {model}, so the ledger records"
                )
                yield (
                    f"{model} {version}: the declarations hold {_declared(now.get(version))}, "
                    f"{where} {_declared(said.get(version))}: one of them was changed alone"
                )


def _declared(one: tuple[float, str] | None) -> str:
    return f"weight {one[0]:g}, SHA-256 {one[1][:16]}…" if one else "nothing"
