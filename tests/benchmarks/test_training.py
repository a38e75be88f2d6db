import pytest

from benchmarks import training


def test_it_says_how_fast_one_process_trains(capsys: pytest.CaptureFixture[str]) -> None:
    assert training.main(["--batch-size", "4", "--steps", "1", "--passes", "1"]) == 0
    told = capsys.readouterr().out
    assert "small on synthetic, batches of 4" in told
    assert "clips/s" in told
