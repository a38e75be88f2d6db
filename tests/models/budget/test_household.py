import numpy as np
import pytest

from models.budget.household import NAMES, profile


def day(text: str) -> int:
    return int(np.datetime64(text).astype(np.int64))


def of(rows: list[tuple[str, float, str]], today: str) -> dict[str, float]:
    days = np.array([day(when) for when, _, _ in rows], np.int64)
    amounts = np.array([amount for _, amount, _ in rows], np.float64)
    merchants = np.array([who for _, _, who in rows], dtype=object)
    return dict(zip(NAMES, profile(days, amounts, merchants, day(today)).tolist(), strict=True))


ROWS = [
    ("2026-01-03", -100.0, "rent"), ("2026-01-05", 1000.0, "work"), ("2026-02-02", -300.0, "rent"),
    ("2026-02-05", 1000.0, "work"), ("2026-03-07", -50.0, "shop"), ("2026-03-09", -150.0, "rent"),
    ("2026-04-01", -9999.0, "car"),
]  # fmt: skip


def test_a_profile_is_of_whole_months() -> None:
    found = of(ROWS, "2026-04-10")
    assert (found["months"], found["spent_monthly"], found["spent_last_month"]) == (3, 200, 200)
    assert found["saved_share"] == pytest.approx(1 - 600 / 2000)
    assert (found["merchants"], found["income_monthly"], found["history_days"]) == (2, 1000, 97)
    assert found["weekend_share"] == pytest.approx(0.5)  # 3 January and 7 March 2026 were Saturdays


def test_nothing_later_is_looked_at_and_nothing_unknown_is_zero() -> None:
    assert of(ROWS, "2026-03-31") == pytest.approx(of(ROWS[:-1], "2026-03-31"), nan_ok=True)
    assert all(np.isnan(value) for value in of(ROWS, "2025-12-31").values())
    first = of(ROWS, "2026-01-20")
    assert first["months"] == 0 and np.isnan(first["spent_monthly"]) and np.isnan(first["spent_trend"])


def test_the_order_of_rows_does_not_matter() -> None:
    assert of(ROWS[::-1], "2026-04-10") == pytest.approx(of(ROWS, "2026-04-10"), nan_ok=True)
