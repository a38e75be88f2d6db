import numpy as np

from training.evaluation.slices import slice_report


def test_a_slice_that_is_worse_than_chance_explains_is_named() -> None:
    right = np.concatenate([np.ones(400), np.tile([0.0, 1.0], 50), np.ones(5)])
    groups = np.array(["many"] * 400 + ["half"] * 100 + ["few"] * 5)
    report = slice_report(right, {"project": groups})
    assert [one.group for one in report.slices] == ["half", "many"]  # five rows say nothing
    assert [one.group for one in report.worse] == ["half"]
    assert report.slices[0].low < 0.5 < report.slices[0].high
    assert "**half**" in report.markdown()


def test_equal_slices_are_not_called_worse() -> None:
    right = np.tile([1.0, 1.0, 1.0, 0.0], 100)
    assert not slice_report(right, {"half": np.repeat(["a", "b"], 200)}).worse
