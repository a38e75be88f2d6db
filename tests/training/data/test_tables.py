import pandas as pd
import pandera.pandas as pa
import pytest

from training.data.quality import BadDataError
from training.data.tables import checked

SCHEMA = pa.DataFrameSchema(
    {"amount": pa.Column(float, pa.Check.in_range(-10, 10)), "label": pa.Column(str, pa.Check.isin(["a", "b"]))},
    coerce=True,
)


def test_bad_rows_are_named_and_left_out() -> None:
    frame = pd.DataFrame({"amount": [1, 99, 3], "label": ["a", "b", "x"]})
    sound, faults = checked(frame, SCHEMA, "f.csv")
    assert sound["amount"].tolist() == [1.0] and sound["amount"].dtype == float
    assert {(fault.file, fault.index) for fault in faults} == {("f.csv", 1), ("f.csv", 2)}
    assert "99" in str(faults[0]) + str(faults[1])


def test_bad_rows_can_be_refused() -> None:
    with pytest.raises(BadDataError, match=r"f\.csv"):
        checked(pd.DataFrame({"amount": [1, 99], "label": ["a", "b"]}), SCHEMA, "f.csv", "refuse")


def test_a_missing_column_is_never_skipped() -> None:
    with pytest.raises(BadDataError, match="label"):
        checked(pd.DataFrame({"amount": [1.0]}), SCHEMA, "f.csv")


def test_values_that_are_no_numbers_are_faults_of_their_row() -> None:
    sound, faults = checked(pd.DataFrame({"amount": ["1", "much"], "label": ["a", "b"]}), SCHEMA, "f.csv")
    assert len(sound) == 1 and {fault.index for fault in faults} == {1}
