import pytest

from marina.processes.console import plain, show


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("x\x1b[2J\x1b]0;title\x07", r"x\x1b[2J\x1b]0;title\x07"),
        ("good\rbad", r"good\rbad"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("\udcff", r"\udcff"),
        ("two\nlines\tand ä ✓ 日本 👩\u200d🔬", "two\nlines\tand ä ✓ 日本 👩\u200d🔬"),
    ],
)
def test_no_order_to_a_terminal_is_printed(written: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plain(written) == shown
    show(ValueError(written))
    assert capsys.readouterr().out == shown + "\n"
