"""Recorded catalogues: tables of products with their codes, as the Rakuten France challenge gives them.

A file is ``.csv`` or ``.csv.gz`` in UTF-8 with the columns ``designation``, ``description`` (may be empty) and
``prdtypecode``. Where a row's ``designation`` is empty and there is a column ``text`` (title and description in one, as
some collections keep them), that is the designation.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.data.quality import BadDataError, Fault, OnBad
from training.data.tables import checked

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("designation", "description", "prdtypecode")
JOINT = " -"
"""What stands between title and description where a collection joined them; at the end, there was no description."""


def files(path: Path) -> list[Path]:
    """Return the files of a catalogue: the one at the path, or all in the folder there.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    found = [path] if path.is_file() else sorted([*path.glob("*.csv"), *path.glob("*.csv.gz")])
    if not found:
        raise FileNotFoundError(f"expected a .csv or .csv.gz file, or a folder of them, at {path}; there is none")
    return found


def read(path: Path, on_bad: OnBad = "skip") -> tuple[pd.DataFrame, list[Fault]]:
    """Read a catalogue.

    Parameters
    ----------
    path
        A file or a folder of files.
    on_bad
        Whether bad rows are left out, or all of it is refused.

    Returns
    -------
    frame
        Columns ``designation``, ``description`` (empty where there is none) and ``code``, all str.
    faults
        What was wrong with other rows, by file and row.

    Raises
    ------
    BadDataError
        If rows are bad and `on_bad` is "refuse"; or, either way, if a file cannot be read, a column is missing, or
        nothing sound is left.
    FileNotFoundError
        If there is nothing at the path.
    """
    import pandas as pd

    frames, faults = [], []
    for file in files(path):
        frame, found = checked(_table(file), _schema(), file.name, on_bad)
        frames.append(frame)
        faults += found
    return pd.concat(frames, ignore_index=True), faults


def _table(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        # A title may be "NA" or "null": nothing but an empty field is a missing one.
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError, OSError, EOFError) as error:
        raise BadDataError([Fault(file.name, None, "unreadable file", str(error))]) from None
    if missing := [name for name in COLUMNS if name not in table]:
        raise BadDataError([Fault(file.name, None, "missing column", f"expected {', '.join(missing)} as well")])
    designation = table["designation"]
    if "text" in table:
        designation = designation.where(designation != "", table["text"].str.removesuffix(JOINT))
    return pd.DataFrame(
        {"designation": designation, "description": table["description"], "code": table["prdtypecode"].str.strip()}
    )


def _schema() -> Any:
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "designation": pa.Column(str, [pa.Check.str_length(1, 20_000), pa.Check.str_matches(r"(?s).*\w")]),
            "description": pa.Column(str, pa.Check.str_length(0, 200_000)),
            "code": pa.Column(str, pa.Check.str_matches(r"^[0-9]{1,5}$")),
        }
    )
