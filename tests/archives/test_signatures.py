"""An archive is used because somebody who is trusted vouches for its very bytes, or not at all."""

import base64
import json
import logging
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from archives.archive import open_archive
from archives.keys import Key, KeyFileError, own_key, read_key, read_keyring
from archives.signatures import SignatureError, Trust, encoding, sign, signature_path, statement
from tests.archives.rewrite import recertified, renamed
from tests.serving import archive


@pytest.fixture
def signers(tmp_path: Path) -> Path:
    """The folder of those who are trusted."""
    return tmp_path / "keys"


@pytest.fixture
def key(tmp_path: Path, signers: Path) -> Key:
    """The key of a trusted signer."""
    return own_key(tmp_path / "signing.key", signers)


@pytest.fixture
def stranger(tmp_path: Path) -> Key:
    """The key of somebody who is not trusted here."""
    return own_key(tmp_path / "stranger.key", tmp_path / "strangers")


@pytest.fixture
def signed(tmp_path: Path, key: Key) -> Path:
    """An archive with its signature."""
    return signed_with(archive(tmp_path), key)


def signed_with(path: Path, key: Key) -> Path:
    signature_path(path).write_bytes(sign(open_archive(path), key))
    return path


def refused(path: Path, signers: Path, match: str, unsigned: str = "refuse") -> None:
    with pytest.raises(SignatureError, match=match):
        Trust(read_keyring(signers), unsigned).signer(open_archive(path))  # type: ignore[arg-type]


def test_the_signer_of_a_good_archive_is_named(signed: Path, signers: Path, key: Key) -> None:
    assert Trust(read_keyring(signers)).signer(open_archive(signed)) == key.id


def test_an_unsigned_archive_is_refused_unless_that_is_allowed(
    tmp_path: Path, signers: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = archive(tmp_path)
    refused(path, signers, r"echo-1\.0\.mar is not signed\. If you trust it, sign it")
    with caplog.at_level(logging.WARNING):
        assert Trust(unsigned="allow").signer(open_archive(path)) == ""
        assert not caplog.records
        assert Trust(unsigned="warn").signer(open_archive(path)) == ""
    assert "echo-1.0.mar is not signed, and is used anyway" in caplog.text


def test_a_stranger_counts_for_nothing(signed: Path, signers: Path, key: Key, stranger: Key) -> None:
    signed_with(signed, stranger)
    refused(signed, signers, "is signed by no trusted signer")
    assert Trust(read_keyring(signers), "allow").signer(open_archive(signed)) == ""


@pytest.mark.parametrize("unsigned", ["allow", "warn", "refuse"])
def test_code_swapped_with_hashes_recomputed_is_refused_whatever_is_allowed(
    signed: Path, signers: Path, unsigned: str
) -> None:
    recertified(signed, signed, {"service.py": b"import os\n"})
    refused(signed, signers, r"was changed after it was signed: SHA-256 \w{16}…, signed \w{16}…", unsigned)


def test_an_archive_renamed_inside_and_out_is_refused(signed: Path, signers: Path) -> None:
    other = recertified(signed, signed.with_name("echo-2.0.mar"), renamed(signed, "echo", "2.0"))
    shutil.copy(signature_path(signed), signature_path(other))
    refused(other, signers, r"is echo-2\.0\.mar, and what was signed is echo-1\.0\.mar")


def test_a_revoked_signer_is_refused_whatever_is_allowed(signed: Path, signers: Path, key: Key) -> None:
    (signers / "revoked").write_text(f"# stolen laptop\n{key.id}  # 2026-11-26\n")
    refused(signed, signers, "which was revoked", "allow")
    for pem in signers.glob("*.pem"):
        pem.unlink()
    refused(signed, signers, "which was revoked", "allow")


def test_after_a_rotation_both_keys_count_until_the_old_one_is_revoked(
    tmp_path: Path, signed: Path, signers: Path, key: Key
) -> None:
    (tmp_path / "signing.key").rename(tmp_path / "old.key")
    new = own_key(tmp_path / "signing.key", signers)
    assert new.id != key.id
    assert Trust(read_keyring(signers)).signer(open_archive(signed)) == key.id
    (signers / "revoked").write_text(key.id + "\n")
    refused(signed, signers, "revoked")
    signed_with(signed, new)
    assert Trust(read_keyring(signers)).signer(open_archive(signed)) == new.id


def test_two_signers_may_sign_one_archive(signed: Path, signers: Path, key: Key, stranger: Key) -> None:
    both = json.loads(signature_path(signed).read_bytes())
    both["signatures"] = [*json.loads(sign(open_archive(signed), stranger))["signatures"], *both["signatures"]]
    signature_path(signed).write_text(json.dumps(both))
    assert Trust(read_keyring(signers)).signer(open_archive(signed)) == key.id


def forged(path: Path, change: dict[str, object], key: Key) -> None:
    """Sign another statement than the archive's own."""
    payload = json.dumps({**statement(open_archive(path)), **change}).encode()
    kind = "application/vnd.in-toto+json"
    one = {"keyid": key.id, "sig": base64.b64encode(key.sign(encoding(kind, payload))).decode()}
    envelope = {"payload": base64.b64encode(payload).decode(), "payloadType": kind, "signatures": [one]}
    signature_path(path).write_text(json.dumps(envelope))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"predicateType": "https://slsa.dev/verification_summary/v1"}, "expected SLSA provenance"),
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "expected SLSA provenance"),
        ({"subject": []}, "does not describe one archive"),
        ({"subject": [{"name": "echo-1.0.mar", "digest": {"sha512": "0"}}]}, "does not describe one archive"),
        ({"subject": [{"name": "other-1.0.mar", "digest": {"sha256": "0" * 64}}]}, r"what was signed is other-1\.0"),
    ],
)
def test_a_signature_over_something_else_is_refused(
    signed: Path, signers: Path, key: Key, change: dict[str, object], words: str
) -> None:
    forged(signed, change, key)
    refused(signed, signers, words, "allow")


@pytest.mark.parametrize("field", ["payload", "payloadType", "sig"])
def test_a_signature_of_which_anything_was_changed_is_refused(signed: Path, signers: Path, field: str) -> None:
    envelope = json.loads(signature_path(signed).read_bytes())
    if field == "sig":
        envelope["signatures"][0]["sig"] = base64.b64encode(b"\0" * 64).decode()
    elif field == "payload":
        changed = base64.b64decode(envelope["payload"]).replace(b"echo-1.0.mar", b"echo-1.1.mar")
        envelope["payload"] = base64.b64encode(changed).decode()
    else:
        envelope["payloadType"] = "application/json"
    signature_path(signed).write_text(json.dumps(envelope))
    refused(signed, signers, "is not valid: it was changed", "allow")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\x80\x05.", b"{" * 5000, b'{"payload": "?"}', b" " * 2**21])
def test_a_file_that_is_no_signature_is_refused(signed: Path, signers: Path, content: bytes) -> None:
    signature_path(signed).write_bytes(content)
    refused(signed, signers, "is no signature", "allow")


def test_equal_archives_and_keys_give_equal_signatures(signed: Path, key: Key) -> None:
    assert sign(open_archive(signed), key) == signature_path(signed).read_bytes()


def test_a_built_archive_states_its_materials(signflow_archive: Path) -> None:
    said = statement(open_archive(signflow_archive))
    definition, details = said["predicate"]["buildDefinition"], said["predicate"]["runDetails"]
    materials = {one["name"]: one["digest"] for one in definition["resolvedDependencies"]}
    assert {"data manifest", "constraints.txt"} <= set(materials)
    assert definition["externalParameters"]["model"] == "signflow"
    assert details["builder"]["id"] == "urn:marina:training"


def test_a_made_key_is_private_and_its_public_half_is_what_openssl_says(
    tmp_path: Path, signers: Path, key: Key
) -> None:
    assert stat.S_IMODE((tmp_path / "signing.key").stat().st_mode) == 0o600
    assert read_key(tmp_path / "signing.key").id == own_key(tmp_path / "signing.key", signers).id == key.id
    (public,) = signers.glob("*.pem")
    if shutil.which("openssl"):
        command = f"openssl pkey -pubin -in {public} -outform DER | sha256sum"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
        assert done.stdout.split()[0] == key.id
    assert list(tmp_path.glob(".signing.key-*")) == []


def test_keys_that_cannot_be_used_are_named(tmp_path: Path, signers: Path, key: Key) -> None:
    (signers / "bad.pem").write_text("no key")
    with pytest.raises(KeyFileError, match=r"bad\.pem: expected a public key"):
        read_keyring(signers)
    (signers / "bad.pem").unlink()
    (signers / "revoked").write_text("abc\n")
    with pytest.raises(KeyFileError, match="64 hexadecimal digits, got 'abc'"):
        read_keyring(signers)
    with pytest.raises(KeyFileError, match="expected a private key"):
        read_key(tmp_path / "none.key")
    assert read_keyring(tmp_path / "nowhere").keys == {}
