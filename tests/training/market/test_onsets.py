from dataclasses import replace

import numpy as np
import pytest

from models.market.alerts import LABELS
from models.market.features import NAMES
from models.market.targets import Outcomes
from training.market.metrics import Walked
from training.market.onsets import count_alerts, markdown, metrics, score_onsets
from training.market.rows import Table

COUNT = 240
SPIKE_12H = LABELS.index("SPIKE_LIKELY@12h")
REGIME_4H = LABELS.index("REGIME_CHANGE_PENDING@4h")


@pytest.fixture
def table() -> Table:
    """Rows every four hours; the spike's state holds from row 100 to 109 and from row 200 on."""
    rows = np.arange(COUNT)
    held = ((rows >= 100) & (rows < 110)) | (rows >= 200)
    already = np.zeros((COUNT, 16), bool)
    already[:, :4] = held[:, None]
    happened = np.zeros((COUNT, 16), bool)
    for column, horizon in enumerate((4, 12, 24, 48)):
        for begin in (100, 200):
            happened[begin - horizon // 4 : begin, column] = True
    happened[:, :4] |= already[:, :4]
    regime = np.where(rows < 50, 0, 1)
    happened[49, REGIME_4H] = True
    nothing = np.zeros((COUNT, 16))
    times = np.datetime64("2024-01-01T00", "h") + 4 * rows
    outcomes = Outcomes(happened, already, already, nothing, nothing, regime)
    return Table(times, np.zeros((COUNT, len(NAMES)), np.float32), outcomes)


def walked(alerted: dict[int, list[int]]) -> Walked:
    """Return walked answers with alerts of some questions at some rows."""
    given = np.zeros((COUNT, 16), bool)
    for question, rows in alerted.items():
        given[rows, question] = True
    probabilities = np.where(given, 0.99, 0.01)
    fold = np.repeat([1, 2], COUNT // 2)
    return Walked(np.arange(COUNT), fold, probabilities, given, given, probabilities)


def test_an_alert_is_right_where_the_state_begins_within_its_horizon(table: Table) -> None:
    one = score_onsets(walked({SPIKE_12H: [98, 99, 150, 199]}), table)[SPIKE_12H]
    assert one.precision == 3 / 4
    assert one.recall == 3 / 6  # three rows of four hours before each of two beginnings
    assert (one.begun, one.foretold) == (2, 1.0)
    assert one.rate == pytest.approx(6 / 190)
    assert one.alerts_per_day == pytest.approx(24 * 4 / COUNT)
    assert one.alerts_per_day_worst == pytest.approx(24 * 2 / 120)


def test_an_alert_too_early_or_too_late_foretells_nothing(table: Table) -> None:
    [early, late] = (score_onsets(walked({SPIKE_12H: [row]}), table)[SPIKE_12H] for row in (96, 110))
    assert early.foretold == late.foretold == 0.0
    assert score_onsets(walked({SPIKE_12H: [97]}), table)[SPIKE_12H].foretold == 0.5


def test_a_severe_answer_while_the_state_holds_is_not_counted(table: Table) -> None:
    answers = replace(walked({}), probabilities=np.full((COUNT, 16), 0.01))
    answers.probabilities[[105, 99], SPIKE_12H] = 0.9
    one = score_onsets(answers, table)[SPIKE_12H]
    assert one.severe_precision == 1.0 and one.severe_recall == pytest.approx(1 / 6)


def test_a_regime_begins_where_it_is_another_than_before(table: Table) -> None:
    one = score_onsets(walked({REGIME_4H: [49]}), table)[REGIME_4H]
    assert (one.begun, one.foretold, one.precision) == (1, 1.0, 1.0)


def test_alerts_are_counted_once_an_hour_whatever_the_horizon(table: Table) -> None:
    often = {one.alert: one for one in count_alerts(walked({0: [10], 1: [10, 11], 4: [10]}))}
    assert often["SPIKE_LIKELY"].mean == pytest.approx(24 * 2 / COUNT)
    assert often["any of them"].mean == pytest.approx(24 * 2 / COUNT)
    assert often["SPIKE_LIKELY"].worst == pytest.approx(24 * 2 / 120)


def test_what_never_was_alerted_breaks_no_table(table: Table) -> None:
    found, often = score_onsets(walked({}), table), count_alerts(walked({}))
    assert "nan" in markdown(found, often)
    assert all(np.isfinite(value) for value in metrics(found, often).values())
    assert metrics(found, often)["SPIKE_LIKELY_12h.onset_recall"] == 0.0
