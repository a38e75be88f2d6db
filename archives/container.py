"""The container of an archive, and of the arrays in it: a zip file of the one plain kind that we write.

Every byte of it is accounted for. Members are stored, not compressed, lie one after the other, and bear the headers
that `archives.certificate.zip_entry` gives them. So nothing unpacks to more than it is, and it is the same to anyone
who reads it from the directory at its end, as Python does, and from one header to the next, as Java does.
"""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator

from archives.certificate import zip_entry
from archives.contract import ArchiveError

_END = struct.Struct("<4s4H2LH")  # the end record: signature, disks, counts, the directory's size and place, comment
_ENTRY_BYTES = 512  # of the directory, at most, on average


class ContainerError(ArchiveError):
    """A file is no such container.

    Attributes
    ----------
    findings
        One sentence each.
    """

    def __init__(self, findings: list[str]) -> None:
        super().__init__("; ".join(findings))
        self.findings = findings


def unzip(content: bytes | memoryview, most: int) -> dict[str, memoryview]:
    """Return the members of a container in their order, as views into it.

    Parameters
    ----------
    content
        The whole file.
    most
        How many members it may have.

    Raises
    ------
    ContainerError
        When it is anything but a container as we write it.
    """
    view = memoryview(content)
    directory = _directory(view, most)
    try:
        with zipfile.ZipFile(io.BytesIO(view[directory:])) as container:
            entries = container.infolist()
    except Exception as error:  # whatever a parser makes of bytes that are not ours
        raise ContainerError([f"not a readable zip file: {error}"]) from error
    if findings := list(_find_anomalies(entries, most)):
        raise ContainerError(findings)
    members: dict[str, memoryview] = {}
    place = 0
    for entry in entries:
        header = entry.FileHeader(zip64=False)
        start, end = place + len(header), place + len(header) + entry.file_size
        if entry.header_offset + directory != place or end > directory or view[place:start] != header:
            raise ContainerError([f"{entry.filename}: its header differs from its directory entry"])
        if zlib.crc32(view[start:end]) != entry.CRC:
            raise ContainerError([f"{entry.filename}: damaged (its checksum differs)"])
        members[entry.filename], place = view[start:end], end
    if place != directory:
        raise ContainerError(["there are bytes between its members and its directory"])
    return members


def _directory(view: memoryview, most: int) -> int:
    """Return where the directory begins; nothing but it and the end record may follow."""
    if len(view) < _END.size or bytes(view[-_END.size :][:4]) != b"PK\5\6":
        raise ContainerError(["not a readable zip file: it has no end record, or something follows it"])
    *_, count, size, place, comment = _END.unpack(view[-_END.size :])
    if count > most or size > most * _ENTRY_BYTES:
        raise ContainerError([f"{count} members, at most {most} are allowed"])
    if comment or place + size + _END.size != len(view):
        raise ContainerError(["not a readable zip file: its directory is not at its end"])
    return int(place)


def _find_anomalies(entries: list[zipfile.ZipInfo], most: int) -> Iterator[str]:
    names = [entry.filename for entry in entries]
    if len(names) > most:
        yield f"{len(names)} members, at most {most} are allowed"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name}: appears more than once"
    for entry in entries:
        ours = zip_entry(entry.filename)
        if stat.S_ISLNK(entry.external_attr >> 16):
            yield f"{entry.filename}: is a symbolic link"
        elif entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            yield f"{entry.filename}: is compressed; members are stored as they are"
        elif (entry.date_time, entry.external_attr, entry.extra, entry.comment, entry.flag_bits & ~0x800) != (
            ours.date_time, ours.external_attr, b"", b"", 0
        ):  # fmt: skip
            yield f"{entry.filename}: its header is not as we write it (time, mode, flags, extra fields or comment)"
