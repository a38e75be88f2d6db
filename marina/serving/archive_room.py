"""Whether a disk has room for what an archive is unpacked to."""

import shutil
import zipfile
from pathlib import Path

ROOM_BYTES = 1_000_000
"""What the files of a loaded archive take beside their contents."""


def count_missing_bytes(archive: Path, folder: Path) -> int:
    """Return how many bytes too few a folder has for an archive's contents; 0 where they have room."""
    try:
        with zipfile.ZipFile(archive) as content:
            needed = sum(member.file_size for member in content.infolist())
        return max(0, needed + ROOM_BYTES - shutil.disk_usage(folder).free)
    except (OSError, zipfile.BadZipFile):
        return 0
