"""Tables are checked before anything learns from them: every fault by file and row, then skipped or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.data.quality import BadDataError, Fault, OnBad

if TYPE_CHECKING:
    import pandas as pd


def checked(frame: pd.DataFrame, schema: Any, file: str, on_bad: OnBad = "skip") -> tuple[pd.DataFrame, list[Fault]]:
    """Hold a table against its schema.

    Parameters
    ----------
    frame
        Rows as they were read.
    schema
        A `pandera.pandas.DataFrameSchema`; with ``coerce=True`` it also sets the types.
    file
        Name to report faults under.
    on_bad
        Whether bad rows are left out, or all of it is refused.

    Returns
    -------
    frame, faults
        The sound rows under a new index, and what was wrong with the others.

    Raises
    ------
    BadDataError
        If rows are bad and `on_bad` is "refuse"; or, either way, if a column is missing or nothing sound is left.
    """
    import pandera.errors

    frame = frame.reset_index(drop=True)
    faults: list[Fault] = []
    while True:
        try:
            return schema.validate(frame, lazy=True).reset_index(drop=True), faults
        except pandera.errors.SchemaErrors as error:
            found = [_fault(file, case) for case in error.failure_cases.to_dict("records")]
        bad = {fault.index for fault in found if fault.index is not None}
        # A column that cannot be converted fails as a whole, too; what counts then is which rows could not.
        faults += [fault for fault in found if fault.index is not None] if bad else found
        if on_bad == "refuse" or not bad or len(bad) == len(frame):
            raise BadDataError(faults)
        frame = frame.drop(index=list(bad))


def _fault(file: str, case: dict[str, Any]) -> Fault:
    row, column, value = case["index"], case["column"], str(case["failure_case"])[:60]
    index = int(row) if isinstance(row, int | float) and row >= 0 else None
    return Fault(file, index, str(case["check"]), f"column {column!r}: got {value!r}")
