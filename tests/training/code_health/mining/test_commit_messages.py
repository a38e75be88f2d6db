import pytest

from training.code_health.mining.commit_messages import repairs


@pytest.mark.parametrize(
    "message",
    [
        *(
            "Fix crash on empty input",
            "fixed #441",
            "Bugfix: leaking sockets",
            'Revert "Add pooling"',
            "fix: off by one",
        ),
        *("Repair the cache after a restart", "Crash in CI when the disk is full", "HOTFIX login"),
    ],
)
def test_these_messages_say_that_a_defect_is_repaired(message: str) -> None:
    assert repairs(message)


@pytest.mark.parametrize(
    "message",
    [
        *("Add feature", "Fix typo", "fix docs build", "Fix failing tests", "Fix flake8 warnings", "prefix all names"),
        *("Support FTP. Fixes #12", "See https://bugs.example.org/bug/1", "Update\n\nfix later", "Debug logging", ""),
    ],
)
def test_these_messages_do_not(message: str) -> None:
    assert not repairs(message)
