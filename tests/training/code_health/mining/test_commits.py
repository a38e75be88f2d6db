"""Commits whose dates, names or messages are made of anything."""

import time
from pathlib import Path

import numpy as np
import pytest

from tests.training.code_health.mining.repositories import commit_raw
from tests.training.code_health.tiny_repository import START_S, Tiny, seconds
from training.code_health.mining.commits import read_commit
from training.code_health.mining.extract import Extractor
from training.code_health.mining.file_metrics import Cache
from training.code_health.mining.git import GitError
from training.code_health.mining.history import read_history
from training.code_health.mining.szz import repairs
from training.code_health.mining.targets import labels

ADA = b"Ada <ada@example.org> "
IMPOSSIBLE = {
    "none": (b"Ada <ada@example.org>", "without a date"),
    "blank": (b"Ada <ada@example.org>  ", "without a date"),
    "words": (ADA + b"yesterday +0000", "dated 'yesterday +0000', which is no date"),
    "2035": (ADA + b"2051222400 +0000", "dated 2035-01-01, which is after now"),
    "2242": (ADA + b"8589934592 +0000", "dated 2242-03-16, which is after now"),
    "before 1970": (ADA + b"-86400 +0000", "dated before 1970"),
    "64 bits": (ADA + b"18446744073709551615 +0000", "dated 18446744073709551615 s after 1970, which is after now"),
    "100 digits": (ADA + b"9" * 100 + b" +0000", "which is no date"),
    "nothing at all": (b"", "without a date"),
    "tomorrow": (ADA + str(int(time.time()) + 86_400).encode() + b" +0000", "which is after now"),
}


PLACES = ("first", "middle", "last", "side")


@pytest.mark.parametrize(
    ("kind", "place"),
    [*(("2035", place) for place in PLACES), *(("none", place) for place in PLACES)]
    + [(kind, PLACES[number % 4]) for number, kind in enumerate(IMPOSSIBLE) if kind not in {"2035", "none"}],
)
def test_a_commit_with_an_impossible_date_is_left_out_and_moves_no_other(tmp_path: Path, kind: str, place: str) -> None:
    committer, why = IMPOSSIBLE[kind]
    tiny = Tiny(tmp_path / "project")
    tiny.git("config", "gc.auto", "0")
    names = {}
    for day in range(3):
        if place == ("first", "middle", None)[day]:
            tiny.write({"odd.py": "odd = 1\n"})
            names["odd"] = commit_raw(tiny, ADA + b"1 +0000", committer, parents=day)
        if place == "side" and day == 1:
            tiny.branch("side")
            tiny.write({"odd.py": "odd = 1\n"})
            names["odd"] = commit_raw(tiny, ADA + b"1 +0000", committer)
            tiny.git("checkout", "-q", "-f", "main")
            names["merge"] = tiny.merge(0.5, "side")
        names[str(day)] = tiny.commit(day, {"a.py": f"a = {day}\n"})
    if place == "last":
        tiny.write({"odd.py": "odd = 1\n"})
        names["odd"] = commit_raw(tiny, ADA + b"1 +0000", committer)
    repository = read_history(tiny.folder)
    assert list(repository.misdated) == [names["odd"]]
    assert why in repository.misdated[names["odd"]]
    assert repository.history.time_s.max() == seconds(2) and repository.history.time_s.min() == seconds(0)
    extractor = Extractor(repository, Cache(None), 1)
    commits = extractor.commits()
    assert commits.subject == [names[str(day)] for day in range(3)]
    assert commits.moment_s.tolist() == [seconds(day) for day in range(3)]
    files = extractor.files([seconds(2)])
    assert files.subject == (["a.py"] if place == "last" else ["a.py", "odd.py"]) + [names["2"]]
    assert len(labels(repository, files, repairs(repository))) == len(files.subject)


def test_what_comes_after_an_impossible_date_is_described_as_if_it_were_not_there(tmp_path: Path) -> None:
    told = []
    for odd in (False, True):
        tiny = Tiny(tmp_path / f"project{odd}")
        tiny.commit(0, {"a.py": "a = 1\n"})
        if odd:
            tiny.write({"other/b.py": "b = 1\n"})
            commit_raw(tiny, b"Bob <b> 1 +0000", ADA + b"4102444800 +0000")
        tiny.commit(3, {"a.py": "a = 2\n"}, "Fix a")
        files = Extractor(read_history(tiny.folder), Cache(None), 1).files([seconds(3)])
        told.append(files.features[files.subject.index("a.py")])
    np.testing.assert_array_equal(told[0], told[1])


def test_a_renaming_commit_with_an_impossible_date_keeps_the_file_and_its_lines(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path / "project")
    body = "".join(f"x_{number} = {number}\n" for number in range(20))
    first = tiny.commit(0, {"a.py": body})
    tiny.write({"a.py": None, "b.py": body})
    commit_raw(tiny, ADA + b"1 +0000", ADA)
    fix = tiny.commit(9, {"b.py": body.replace("= 7", "= 8")}, "Fix seven")
    repository = read_history(tiny.folder)
    assert set(repository.history.file.tolist()) == {0}
    found = repairs(repository)
    assert [repository.hashes[one] for one in (*found.fixing, *found.inducing)] == [fix, first]


def test_a_history_of_impossible_dates_alone_is_explained(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path / "project")
    tiny.write({"a.py": "a = 1\n"})
    name = commit_raw(tiny, ADA + b"1 +0000", ADA, parents=0)
    with pytest.raises(GitError, match=f"no commit of .* has a possible date, of 1; {name} is without a date: see"):
        read_history(tiny.folder)


@pytest.mark.parametrize("zone", [b"+9999", b"-9999", b"+0000000", b"", b"EST", b"+1400 trailing"])
def test_the_zone_of_a_date_plays_no_part(tmp_path: Path, zone: bytes) -> None:
    tiny = Tiny(tmp_path / "project")
    tiny.write({"a.py": "a = 1\n"})
    commit_raw(tiny, ADA + b"1 " + zone, ADA + str(START_S).encode() + b" " + zone, parents=0)
    assert read_history(tiny.folder).history.time_s.tolist() == [START_S]


def test_a_clock_a_minute_ahead_is_believed(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path / "project")
    tiny.write({"a.py": "a = 1\n"})
    commit_raw(tiny, ADA + b"1 +0000", ADA + str(int(time.time()) + 60).encode() + b" +0000", parents=0)
    assert not read_history(tiny.folder).misdated


AUTHORS = [
    b" <nobody@example.org> 1 +0000",
    b"<> 1 +0000",
    b"Ren\xe9 <rene@example.org> 1 +0000",
    b"\x01\x02\x1b[31m <control@example.org> 1 +0000",
    b"Tab\there <tab@example.org> 1 +0000",
    b"An <gle <brackets@example.org> 1 +0000",
    b"no address at all 1 +0000",
    b"",
    "名前 <name@example.org> 1 +0000".encode(),
]


def test_authors_of_any_bytes_are_told_apart(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path / "project")
    for number, author in enumerate((*AUTHORS, *AUTHORS)):
        tiny.write({"a.py": f"a = {number}\n", f"f{number}.py": "x = 1\n"})
        commit_raw(tiny, author, ADA + str(seconds(number)).encode() + b" +0000", parents=min(number, 1))
    repository = read_history(tiny.folder)
    assert len(repository.hashes) == 2 * len(AUTHORS) and not repository.misdated
    # those with neither a name nor an address cannot be told apart
    assert repository.history.author.tolist() == 2 * [0, 1, 2, 3, 4, 5, 6, 1, 7]


MESSAGES = [
    (b"Fix the sum", True),
    (b"Fix the sum\n\nwith \xff bytes\x01\x02 \x1b[0m", True),
    (b"\x01Fix\x02the sum", True),
    (b"", False),
    (b"Work\n\nFix later", False),
    (b"Fix\0hidden", True),
]


def test_messages_of_any_bytes_are_read(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path / "project")
    for number, (message, _) in enumerate(MESSAGES):
        tiny.write({"a.py": f"a = {number}\n"})
        commit_raw(tiny, ADA, ADA + str(seconds(number)).encode() + b" +0000", message, parents=min(number, 1))
    assert read_history(tiny.folder).history.fixes.tolist() == [fixes for _, fixes in MESSAGES]


def test_names_that_look_like_what_git_prints_are_names(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path / "project")
    names = [
        *("\x01" + "a" * 40 + ".py", ":100644 100644 a b M.py", "1\t2\tx.py", "::x.py", "\n.py", " .py", "x.py\ny.py"),
        *("index a..b.py", "@@ -1 +1 @@.py", "%s.py", "a\\b.py", "\udcff\udcfe.py", "$(touch x).py", "-rf.py"),
    ]
    tiny.commit(0, dict.fromkeys(names, "x = 1\n"))
    tiny.branch("side")
    tiny.commit(1, dict.fromkeys(names, "x = 2\n"), "Fix x")
    tiny.git("checkout", "-q", "main")
    tiny.commit(2, dict.fromkeys(names, "x = 3\n"), "Fix x")
    merge = tiny.merge(3, "side", dict.fromkeys(names, "x = 4\n"))
    last = tiny.commit(4, dict.fromkeys(names, "x = 5\n"), "Fix x")
    repository = read_history(tiny.folder)
    assert {change.path for change in repository.changes} == set(names)
    assert repository.history.conflicted.tolist() == [one == merge for one in repository.hashes]
    found = repairs(repository)
    linked = {(repository.hashes[a], repository.hashes[b]) for a, b in zip(found.fixing, found.inducing, strict=True)}
    assert (last, merge) in linked
    table = Extractor(repository, Cache(None), 1).files([seconds(4)]).frame("a\nb\udcff")
    assert len(set(table["subject"])) == len(names) + 1
    assert set(table["project"]) == {"a\\nb\\xff"}
    table.to_csv(tmp_path / "table.csv")
    table.to_parquet(tmp_path / "table.parquet")


def test_an_ending_followed_by_a_line_break_is_no_source(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path / "project")
    tiny.commit(0, {"a.py\n": "x = 1\n", "b.py ": "x = 1\n", "c.PY": "x = 1\n"})
    assert [change.path for change in read_history(tiny.folder).changes] == ["c.PY"]


def test_a_signed_commit_s_message_is_not_its_signature(tmp_path: Path) -> None:
    raw = (
        b"a" * 40 + b"\ntree b\nparent c\nauthor Ada <a@b> 5 +0000\ncommitter Bob <b@b> 7 +0000\n"
        b"gpgsig -----BEGIN\n committer Eve <e@e> 9 +0000\n -----END\n\n    Fix it\n    \n        indented\n"
    )
    commit = read_commit(raw, 100.0)
    assert (commit.time_s, commit.author, commit.message) == (7, "Ada", "Fix it\n\n    indented\n")
