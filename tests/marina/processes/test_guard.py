import errno

import pytest

from marina.processes.guard import Guard


def test_a_fault_is_said_once_until_it_is_another_or_over() -> None:
    told: list[str] = []
    guard = Guard(told.append)
    for error in (OSError(errno.ENOSPC, "no space"), OSError(errno.ENOSPC, "none"), OSError(errno.EIO, "broken"), None):
        with guard.part("writing"):
            if error is not None:
                raise error
    with guard.part("writing"):
        pass
    assert [words.split(":")[0] for words in told] == [
        "writing fails, everything else continues",
        "writing fails, everything else continues",
        "writing works again",
    ]


def test_what_is_to_pass_passes() -> None:
    guard = Guard(lambda _: None)
    with pytest.raises(ZeroDivisionError), guard.part("dividing", passing=(ZeroDivisionError,)):
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), guard.part("waiting"):
        raise KeyboardInterrupt
