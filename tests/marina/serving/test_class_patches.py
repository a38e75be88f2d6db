import hashlib
import struct
import zipfile
from pathlib import Path

import pytest

from marina.serving import class_patches, torchserve

SERVER_JAR = torchserve.installed() / "frontend" / "model-server.jar"
POOL_SIZES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}


def changed_bytes(change: class_patches.Change, prepared: class_patches.Prepared) -> list[tuple[int, int, int]]:
    """Where a class differs from the original: offset, byte before, byte after."""
    with zipfile.ZipFile(SERVER_JAR) as stock, zipfile.ZipFile(prepared.jar) as override:
        old, new = stock.read(change.name), override.read(change.name)
    assert len(old) == len(new)
    return [(at, was, now) for at, (was, now) in enumerate(zip(old, new, strict=True)) if was != now]


def method_called(code: bytes, index: int) -> str:
    """The method that an entry of a class's constant pool stands for (JVM specification, 4.4)."""
    entries: dict[int, tuple[int, bytes]] = {}
    at, number = 10, 1
    while number < struct.unpack_from(">H", code, 8)[0]:
        tag = code[at]
        size = 2 + struct.unpack_from(">H", code, at + 1)[0] if tag == 1 else POOL_SIZES[tag]
        entries[number] = (tag, code[at + 1 : at + 1 + size])
        at += 1 + size
        number += 2 if tag in (5, 6) else 1
    tag, pair = entries[index]
    assert tag == 10, "no method"
    owner, name_and_type = struct.unpack(">HH", pair)
    (owner_name,) = struct.unpack(">H", entries[owner][1])
    name, kind = struct.unpack(">HH", entries[name_and_type][1])
    return b" ".join(entries[one][1][2:] for one in (owner_name, name, kind)).decode()


def test_the_batch_loop_is_changed_in_one_byte(tmp_path: Path) -> None:
    before = hashlib.sha256(SERVER_JAR.read_bytes()).hexdigest()
    prepared = class_patches.prepare(SERVER_JAR, tmp_path / "override.jar")
    assert (prepared.missing, prepared.delay_ms, prepared.notices) == ((), 0, [])
    ((_, was, now),) = changed_bytes(class_patches.SEND_WHEN_IDLE, prepared)
    assert (was, now) == (0x9D, 0x9C)  # ifgt, ifge
    assert hashlib.sha256(SERVER_JAR.read_bytes()).hexdigest() == before


def test_nothing_but_the_call_that_starts_grpc_is_left_out(tmp_path: Path) -> None:
    prepared = class_patches.prepare(SERVER_JAR, tmp_path / "override.jar")
    changed = changed_bytes(class_patches.NO_GRPC, prepared)
    with zipfile.ZipFile(SERVER_JAR) as stock:
        code = stock.read(class_patches.NO_GRPC.name)
    first = code.index(class_patches.NO_GRPC.before)
    assert {at for at, _, _ in changed} <= set(range(first, first + 4))
    assert {now for _, _, now in changed} == {0}  # nop
    assert code[first : first + 2] == b"\x2a\xb6"  # aload_0, invokevirtual
    called = method_called(code, struct.unpack_from(">H", code, first + 2)[0])
    assert called == "org/pytorch/serve/ModelServer startGRPCServers ()V"


@pytest.mark.parametrize("change", class_patches.CHANGES)
def test_what_is_changed_occurs_once_in_its_class(change: class_patches.Change) -> None:
    with zipfile.ZipFile(SERVER_JAR) as stock:
        assert stock.read(change.name).count(change.before) == 1
    assert len(change.before) == len(change.after)


def other_jar(folder: Path) -> Path:
    """A jar whose batch loop is another."""
    path = folder / "other.jar"
    with zipfile.ZipFile(SERVER_JAR) as stock, zipfile.ZipFile(path, "w") as jar:
        jar.writestr(class_patches.SEND_WHEN_IDLE.name, stock.read(class_patches.SEND_WHEN_IDLE.name) + b"\0")
        jar.writestr(class_patches.NO_GRPC.name, stock.read(class_patches.NO_GRPC.name))
    return path


def test_another_torchserve_is_refused_with_what_would_be_lost(tmp_path: Path) -> None:
    with pytest.raises(class_patches.UnexaminedError) as refused:
        class_patches.prepare(other_jar(tmp_path), tmp_path / "override.jar")
    for words in ("torchserve==0.12.0", "MARINA_UNEXAMINED_TORCHSERVE=allow", class_patches.SEND_WHEN_IDLE.loss):
        assert words in str(refused.value)
    assert class_patches.NO_GRPC.loss not in str(refused.value)


def test_another_torchserve_serves_when_it_may_with_every_change_that_fits(tmp_path: Path) -> None:
    prepared = class_patches.prepare(other_jar(tmp_path), tmp_path / "override.jar", unexamined=True)
    assert (prepared.missing, prepared.delay_ms) == ((class_patches.SEND_WHEN_IDLE,), 2)
    assert class_patches.SEND_WHEN_IDLE.loss in prepared.notices[0]
    with zipfile.ZipFile(prepared.jar) as jar:
        assert jar.namelist() == [class_patches.NO_GRPC.name]
