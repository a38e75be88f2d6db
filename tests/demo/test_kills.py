"""A week of the loop whose processes are killed at random moments by SIGKILL."""

import random
from pathlib import Path

import pytest
from rich.console import Console

from demo import kills


@pytest.mark.slow
def test_a_week_that_is_killed_three_times_ends_as_one_that_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victims, faults = kills.run(tmp_path, 3, 120, 6.0, random.Random(1), Console(soft_wrap=True))
    said = capsys.readouterr().out
    assert faults == 0, said
    assert victims.total() == 3 and said.count("\nok  ") >= 4, said
