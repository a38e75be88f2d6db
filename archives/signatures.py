"""Who vouches for an archive: a signature beside it, `<name>.mar.sig`, over who made it, of what.

The file is a DSSE envelope (https://github.com/secure-systems-lab/dsse) with an in-toto Statement v1, whose subject is
the archive by name and SHA-256 and whose predicate is SLSA provenance v1: builder, parameters, and materials. Signed
with Ed25519. Nothing in it depends on the time, so equal archives and keys give equal files.
"""

import base64
import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from archives.archive import Archive
from archives.contract import ArchiveError, canonical_json
from archives.keys import Key, Keyring, read_keyring
from archives.linter import parse_json

SUFFIX = ".sig"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:marina:archive:1"
BUILDER = "urn:marina:training"

MAX_BYTES = 1024 * 1024
MAX_SIGNATURES = 8

logger = logging.getLogger(__name__)


class SignatureError(ArchiveError):
    """An archive is not what a trusted signer signed; the message says what was found, and what to do."""


@dataclass(frozen=True)
class Trust:
    """Whose archives may run here.

    Attributes
    ----------
    keyring
        Those who are trusted.
    unsigned
        What happens to an archive that none of them signed: allowed, allowed with a warning, or refused. One whose
        signature is wrong, or of a key that was revoked, is refused in any case.
    """

    keyring: Keyring = field(default_factory=Keyring)
    unsigned: Literal["allow", "warn", "refuse"] = "refuse"

    @classmethod
    def read(cls, folder: Path, unsigned: Literal["allow", "warn", "refuse"]) -> "Trust":
        """Trust those whose public keys are in a folder; raises `archives.keys.KeyFileError`."""
        return cls(read_keyring(folder), unsigned)

    def signer(self, archive: Archive) -> str:
        """Return the id of the key that vouches for an archive; empty where none does and none has to.

        Raises
        ------
        SignatureError
            When the archive may not run here.
        """
        found = signature_of(archive)
        who = verify(archive, found, self.keyring) if found is not None else ""
        if who:
            return who
        how = "is signed by no trusted signer" if found is not None else "is not signed"
        if self.unsigned == "refuse":
            raise SignatureError(
                f"{archive.path.name} {how}. If you trust it, sign it (python scripts/sign_archive.py {archive.path}), "
                "or put the public key of who signed it into the folder of signers (MARINA_SIGNERS)."
            )
        if self.unsigned == "warn":
            logger.warning("%s %s, and is used anyway (MARINA_UNSIGNED=warn)", archive.path.name, how)
        return ""


ANYBODY = Trust(unsigned="allow")
"""For what is only looked at, or built here and now."""


def sign(archive: Archive, key: Key) -> bytes:
    """Return the signature file of an archive."""
    payload = canonical_json(statement(archive))
    signature = {"keyid": key.id, "sig": base64.b64encode(key.sign(encoding(PAYLOAD_TYPE, payload))).decode()}
    envelope = {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": [signature]}
    return canonical_json(envelope)


def statement(archive: Archive) -> dict[str, Any]:
    """Return what is signed: which archive, made by whom, of what; as its provenance says."""
    origin = archive.json("provenance.json")
    commit, _, modified = str(origin.get("git_commit", "")).partition("-")
    materials = [
        {"name": name, "digest": {kind: value}, **more}
        for name, kind, value, more in (
            ("source", "gitCommit", commit, {"annotations": {"modified": bool(modified)}}),
            ("data manifest", "sha256", origin.get("data_manifest_sha256"), {}),
            ("constraints.txt", "sha256", origin.get("constraints_sha256"), {}),
        )
        if _is_hex(value)
    ]
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {
            "model": archive.contract.model,
            "version": archive.contract.version,
            "family": archive.contract.family,
            "parameters": origin.get("parameters", {}),
        },
        "resolvedDependencies": materials,
    }
    details = {
        "builder": {"id": BUILDER, "version": origin.get("packages", {})},
        "metadata": {"invocationId": str(origin.get("mlflow_run", ""))},
        "byproducts": [
            {
                "name": "provenance.json",
                "digest": {"sha256": hashlib.sha256(archive.members["provenance.json"]).hexdigest()},
                "annotations": {"metrics": origin.get("metrics", {})},
            }
        ],
    }
    return {
        "_type": STATEMENT,
        "subject": [{"name": archive.name, "digest": {"sha256": archive.sha256}}],
        "predicateType": PROVENANCE,
        "predicate": {"buildDefinition": definition, "runDetails": details},
    }


def signature_of(archive: Archive) -> bytes | None:
    """Return the signature file beside an archive; None where there is none.

    Raises
    ------
    SignatureError
        When it cannot be read, or is too large for one.
    """
    path = signature_path(archive.path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SignatureError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise SignatureError(f"{path} is no signature: it has more than {MAX_BYTES:,} bytes")
    return content


def signature_path(archive: Path) -> Path:
    """Return where an archive's signature is."""
    return archive.with_name(archive.name + SUFFIX)


def verify(archive: Archive, signature: bytes, keyring: Keyring) -> str:
    """Check a signature file against an archive.

    Returns
    -------
    str
        The id of a trusted key that signed it; empty when none of its keys is known.

    Raises
    ------
    SignatureError
        When it is no signature, is of another archive, does not hold, or is of a revoked key and of no other.
    """
    name = archive.path.name
    try:
        kind, payload, signatures = _parse_envelope(signature)
    except (ArchiveError, KeyError, TypeError, ValueError) as error:
        raise SignatureError(
            f"{name}{SUFFIX} is no signature of an archive ({error}): sign the archive again"
        ) from error
    known = [(who, signed) for who, signed in signatures if who in keyring.keys or who in keyring.revoked]
    for who, signed in known:
        if who in keyring.keys and not keyring.holds(who, encoding(kind, payload), signed):
            raise SignatureError(f"{name}{SUFFIX}: the signature of {who[:16]}… is not valid: it was changed")
    good = [who for who, _ in known if who not in keyring.revoked]
    if known and not good:
        raise SignatureError(f"{name} is signed with {known[0][0][:16]}…, which was revoked: build or sign it again.")
    if good:
        _check_subject(archive, kind, payload)
    return good[0] if good else ""


def _parse_envelope(signature: bytes) -> tuple[str, bytes, list[tuple[str, bytes]]]:
    """Return what an envelope holds: the kind of the payload, the payload, and who signed it how."""
    envelope = parse_json(signature)
    signed = envelope["signatures"]
    if not isinstance(signed, list) or not 1 <= len(signed) <= MAX_SIGNATURES:
        raise ArchiveError(f"expected from 1 to {MAX_SIGNATURES} signatures")
    signatures = [(str(one["keyid"]), base64.b64decode(one["sig"], validate=True)) for one in signed]
    return str(envelope["payloadType"]), base64.b64decode(envelope["payload"], validate=True), signatures


def _check_subject(archive: Archive, kind: str, payload: bytes) -> None:
    try:
        said = parse_json(payload)
        (subject,) = said["subject"]
        signed, sha256 = subject["name"], subject["digest"]["sha256"]
    except (ArchiveError, KeyError, TypeError, ValueError) as error:
        raise SignatureError(f"{archive.path.name}{SUFFIX} does not describe one archive: {error!r}") from error
    if (kind, said.get("_type"), said.get("predicateType")) != (PAYLOAD_TYPE, STATEMENT, PROVENANCE):
        raise SignatureError(f"{archive.path.name}{SUFFIX}: expected SLSA provenance in an in-toto statement")
    if signed != archive.name:
        raise SignatureError(
            f"{archive.path.name} is {archive.name}, and what was signed is {signed}: deploy the original"
        )
    if sha256 != archive.sha256:
        raise SignatureError(
            f"{archive.path.name} was changed after it was signed: SHA-256 {archive.sha256[:16]}…, "
            f"signed {str(sha256)[:16]}…; deploy the original"
        )


def encoding(kind: str, payload: bytes) -> bytes:
    """Return what is signed of a payload: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)


def _is_hex(value: object) -> bool:
    return isinstance(value, str) and len(value) >= 40 and set(value) <= set("0123456789abcdef")
