"""scripts/flags.py, as a person types it."""

from pathlib import Path

import pytest

from scripts import flags


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("MARINA_DATABASE_URL", raising=False)

    def ask(*arguments: str) -> tuple[int, str]:
        code = flags.main(list(arguments))
        said = capsys.readouterr()
        return code, said.out + said.err

    return ask


def test_a_flag_is_shown_changed_and_its_history_kept(run) -> None:  # type: ignore[no-untyped-def]
    assert "ml_categorization" in run("list")[1]
    assert run("set", "ml_categorization", "20%", "--why", "a fifth", "--who", "ann") == (
        0,
        "ml_categorization: on for 20 %\n",
    )
    assert "is so already" in run("set", "ml_categorization", "0.2", "--why", "again")[1]
    assert "and 2 named units" in run("set", "ml_categorization", "--users", "a", "b", "--why", "testers")[1]
    assert "TARGETING_MATCH" in run("list", "--for", "a")[1]
    assert "0 % to 20 %, by ann: a fifth" in run("history", "ml_categorization")[1]
    assert run("history", "ab_testing") == (0, "never changed\n")


def test_a_flag_is_guarded_and_judged(run) -> None:  # type: ignore[no-untyped-def]
    assert run("status") == (0, "no flag was ever guarded\n")
    assert "guard 1, on for 20 % of 20 %, 50 %, 100 %" in run("guard", "ml_categorization", "--why", "hybrid")[1]
    assert "nothing to do" in run("step")[1]
    assert "watching, step 1 of 3 (20 %); keep watching: errors" in run("status")[1]
    code, said = run("guard", "ml_categorization", "--why", "hybrid")
    assert code == 1 and "already" in said


def test_what_was_mistyped_is_said(run) -> None:  # type: ignore[no-untyped-def]
    for given in (("set", "ml_categorization", "maybe"), ("set", "ml_cat", "on"), ("set", "ab_testing", "120%")):
        code, said = run(*given, "--why", "x")
        assert code == 1 and "expected" in said and "Traceback" not in said
