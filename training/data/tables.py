"""Tables are checked before anything learns from them: every fault by file and row, then skipped or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.data.quality import BadDataError, Fault, OnBad

if TYPE_CHECKING:
    import pandas as pd

    from training.data.reading.table import Table


def checked(
    frame: pd.DataFrame,
    schema: Any,
    file: str,
    on_bad: OnBad = "skip",
    table: Table | None = None,
    keep_index: bool = False,
) -> tuple[pd.DataFrame, list[Fault]]:
    """Hold a table against its schema.

    Parameters
    ----------
    frame
        Rows as they were read; the index is each row's number in the file.
    schema
        A `pandera.pandas.DataFrameSchema`; with ``coerce=True`` it also sets the types.
    file
        Name to report faults under.
    on_bad
        Whether bad rows are left out, or all of it is refused.
    table
        What the rows were read from: its faults come first, and its cells are shown as they stand in the file.
    keep_index
        Whether the sound rows keep their numbers as index, or get a new one.

    Returns
    -------
    frame, faults
        The sound rows, and what was wrong with the others.

    Raises
    ------
    BadDataError
        If rows are bad and `on_bad` is "refuse"; or, either way, if a column is missing or nothing sound is left.
    """
    import pandera.errors

    faults: list[Fault] = list(table.faults) if table else []
    while True:
        if frame.empty:
            raise BadDataError(faults or [Fault(file, None, "no rows", "expected rows below the heading, got none")])
        try:
            sound = schema.validate(frame, lazy=True)
            break
        except pandera.errors.SchemaErrors as error:
            found = [_fault(file, case, table) for case in error.failure_cases.to_dict("records")]
        bad = {fault.index for fault in found if fault.index is not None}
        # A column that cannot be converted fails as a whole, too; what counts then is which rows could not.
        faults += [fault for fault in found if fault.index is not None] if bad else found
        if not bad:
            raise BadDataError(faults)
        frame = frame.drop(index=list(bad))
    faults.sort(key=lambda fault: -1 if fault.index is None else fault.index)
    if on_bad == "refuse" and faults:
        raise BadDataError(faults)
    return sound if keep_index else sound.reset_index(drop=True), faults


def _fault(file: str, case: dict[str, Any], table: Table | None) -> Fault:
    row, column, value, kind = case["index"], case["column"], str(case["failure_case"])[:60], str(case["check"])
    index = int(row) if isinstance(row, int | float) and row >= 0 else None
    if index is None or table is None:
        return Fault(file, index, kind, f"column {column!r}: got {value!r}")
    return Fault(file, index, kind, table.describe(index, column, kind, value))
