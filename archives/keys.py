"""Ed25519 keys: one that signs, and the public ones of those who are trusted.

A signer's id is the SHA-256 of the public key as DER, what
``openssl pkey -pubin -in KEY.pem -outform DER | sha256sum`` prints.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from archives.contract import ArchiveError

REVOKED = "revoked"
"""File in a folder of public keys: ids of those that count no longer, one a line; what follows a # is a remark."""

OWN_KEY = "signing.key"
"""File in a state folder: the private key of what is built there."""

_ID = re.compile(r"[0-9a-f]{64}")


class KeyFileError(ArchiveError):
    """A key cannot be used; the message names its file, and what was expected."""


def key_id(key: Ed25519PublicKey) -> str:
    """Return a signer's id."""
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()


@dataclass(frozen=True)
class Key:
    """A private key, and its public half."""

    private: Ed25519PrivateKey = field(repr=False)

    @property
    def id(self) -> str:
        """The signer's id."""
        return key_id(self.private.public_key())

    @property
    def public_pem(self) -> bytes:
        """The public key, as the others are to have it."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        return self.private.sign(message)


@dataclass(frozen=True)
class Keyring:
    """The public keys of those who are trusted, by id, and the ids of those who are so no longer."""

    keys: Mapping[str, Ed25519PublicKey] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()

    def with_key(self, key: Key | None) -> "Keyring":
        """Return a keyring that trusts this key too, unless it was revoked."""
        own = {key.id: key.private.public_key()} if key else {}
        return Keyring({**self.keys, **own}, self.revoked)

    def holds(self, signer: str, message: bytes, signature: bytes) -> bool:
        """Whether the key of this id is here and signed the message; a revoked key is asked too."""
        try:
            self.keys[signer].verify(signature, message)
        except (KeyError, InvalidSignature):
            return False
        return True


def read_key(path: Path) -> Key:
    """Read a private key.

    Raises
    ------
    KeyFileError
        When there is none, or it is of another kind.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: expected a private key in PEM, without a password: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: expected an Ed25519 key (openssl genpkey -algorithm ed25519)")
    return Key(key)


def signing_key(given: Path | None, home: Path) -> Key:
    """Return the key that signs what is built here: a given one, else that of a state folder, made where it is missing.

    Raises
    ------
    KeyFileError
        When the given one cannot be used.
    """
    return read_key(given) if given else own_key(home / OWN_KEY, home / "keys")


def own_key(path: Path, public: Path) -> Key:
    """Read a private key, or make one, readable by no one else, and put its public half into a folder.

    Of two processes that do so at once, both get the same key.

    Raises
    ------
    KeyFileError
        When there is none that can be used, and none can be made.
    """
    if not path.exists():
        try:
            _make(path, public)
        except OSError as error:
            raise KeyFileError(f"{path}: a key cannot be created here: {error}") from error
    return read_key(path)


def _make(path: Path, public: Path) -> None:
    key = Key(Ed25519PrivateKey.generate())
    content = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    public.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # First the public half: a signature with an unknown key is worth nothing.
        known = public / f"{key.id[:16]}.pem"
        known.write_bytes(key.public_pem)
        try:
            os.link(name, path)
        except FileExistsError:
            known.unlink()
    finally:
        os.unlink(name)


def read_keyring(folder: Path) -> Keyring:
    """Read the public keys (`*.pem`) of a folder, and its list of revoked ones; no folder, no keys.

    Raises
    ------
    KeyFileError
        When a file in it cannot be used: better no one than a revoked signer.
    """
    keys, revoked = {}, set()
    for path in sorted(folder.glob("*.pem")):
        try:
            key = serialization.load_pem_public_key(path.read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"{path}: expected a public key in PEM: {error}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise KeyFileError(f"{path}: expected an Ed25519 public key")
        keys[key_id(key)] = key
    try:
        lines = (folder / REVOKED).read_text().splitlines()
    except FileNotFoundError:
        lines = []
    except (OSError, ValueError) as error:
        raise KeyFileError(f"{folder / REVOKED} cannot be read: {error}") from error
    for line in lines:
        word = line.partition("#")[0].strip()
        if word and not _ID.fullmatch(word):
            raise KeyFileError(f"{folder / REVOKED}: expected a key's id, 64 hexadecimal digits, got {word!r}")
        revoked |= {word} - {""}
    return Keyring(keys, frozenset(revoked))
