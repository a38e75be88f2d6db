import threading
import time
from collections import Counter

import pytest
import sqlalchemy as sa

from handlers.spool import _chance
from marina.database.connection import Database
from marina.database.key_lookup import known, rows
from marina.database.tables import EARLY_LABELS, LABELS, PREDICTIONS
from marina.events import labels as all_labels
from marina.events.labels import AT_ONCE, Label, Outcome, adopt, count_early, record
from marina.events.sampling import chosen

ANSWERED = {"model": "m", "version": "1.0", "time": 1.0, "picked": True, "label": "cat", "answer": "[]"}


def answer(database: Database, *keys: tuple[str, int]) -> None:
    with database.writing() as connection:
        database.add_new(connection, PREDICTIONS, [ANSWERED | {"request_id": a, "instance": b} for a, b in keys])


def arrive(database: Database, *keys: tuple[str, int], now: float = 9.0) -> int:
    """Write answers as the collector does; return how many early labels count from then on."""
    answer(database, *keys)
    with database.writing() as connection:
        return adopt(database, connection, keys, now)


def kept(database: Database) -> dict[tuple[str, int], str]:
    with database.reading() as connection:
        return {(row.request_id, row.instance): row.label for row in connection.execute(sa.select(LABELS))}


def early(database: Database) -> int:
    with database.reading() as connection:
        return count_early(connection)


def test_every_label_has_an_outcome(database: Database) -> None:
    answer(database, ("a", 0), ("a", 1))
    posted = [Label("a", "cat"), Label("a", "dog", 1), Label("a", "cat", 2), Label("b", "cat"), Label("a", "cat")]
    assert record(database, posted, 5.0) == ["recorded", "recorded", "unanswered", "early", "duplicate"]
    assert record(database, [Label("a", "dog"), Label("a", "dog", 1)], 6.0) == ["conflict", "duplicate"]
    assert kept(database) == {("a", 0): "cat", ("a", 1): "dog"}
    assert early(database) == 1


def test_the_first_of_two_in_one_list_stands(database: Database) -> None:
    assert record(database, [Label("a", "cat"), Label("a", "dog")], 5.0) == ["early", "conflict"]
    arrive(database, ("a", 0))
    assert record(database, [Label("a", "cat"), Label("a", "dog")], 7.0) == ["duplicate", "conflict"]
    assert kept(database) == {("a", 0): "cat"}


def test_an_early_label_counts_from_when_its_answer_comes(database: Database) -> None:
    assert record(database, [Label("a", "cat"), Label("a", "cat", 7), Label("b", "cat")], 5.0) == ["early"] * 3
    assert record(database, [Label("a", "cat"), Label("a", "dog")], 6.0) == ["duplicate", "conflict"]
    assert arrive(database, ("a", 0), ("c", 0)) == 1
    with database.reading() as connection:
        assert connection.execute(sa.select(LABELS.c.request_id, LABELS.c.time)).all() == [("a", 9.0)]
        assert connection.execute(sa.select(EARLY_LABELS.c.request_id)).scalars().all() == ["b"]
    assert record(database, [Label("a", "cat")], 10.0) == ["duplicate"]


def test_who_is_trusted_comes_first_and_of_equals_the_first_stands(database: Database) -> None:
    def send_label(source: str, label: str) -> Outcome:
        return record(database, [Label("a", label, 0, source)], 5.0)[0]

    assert [send_label("1.2.3.4", "dog"), send_label("5.6.7.8", "cow"), send_label("feedback 0", "cat")] == [
        "early"
    ] * 3
    assert send_label("feedback 1", "dog") == "early"  # it is not told of others' early ones
    assert arrive(database, ("a", 0)) == 1
    assert kept(database) == {("a", 0): "cat"}
    assert [send_label("5.6.7.8", "dog"), send_label("feedback 1", "dog"), send_label("feedback 1", "cat")] == [
        "conflict", "conflict", "duplicate",
    ]  # fmt: skip
    assert kept(database) == {("a", 0): "cat"}


def test_a_trusted_label_takes_the_place_of_anothers(database: Database) -> None:
    answer(database, ("a", 0), ("b", 0))
    assert record(database, [Label("a", "dog"), Label("b", "cat")], 5.0) == ["recorded", "recorded"]
    trusted = [Label("a", "cat", 0, "feedback 0"), Label("b", "cat", 0, "feedback 0")]
    assert record(database, trusted, 6.0) == ["recorded", "duplicate"]
    assert record(database, [Label("b", "dog", 0, "feedback 1")], 7.0) == ["conflict"]
    with database.reading() as connection:
        found = connection.execute(sa.select(LABELS.c.label, LABELS.c.time, LABELS.c.source).order_by("request_id"))
        assert found.all() == [("cat", 6.0, "feedback 0"), ("cat", 5.0, "feedback 0")]


def test_early_labels_are_bounded_for_each_and_for_all(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_labels, "MOST_EARLY_OF_ONE", 3)
    monkeypatch.setattr(all_labels, "MOST_EARLY", 5)

    def post(source: str, *ids: str) -> list[Outcome]:
        return record(database, [Label(one, "cat", 0, source) for one in ids], 5.0)

    answer(database, ("known", 0))
    assert post("x", "a", "b", "c", "d", "known") == ["early"] * 3 + ["refused", "recorded"]
    assert post("x", "a", "e") == ["duplicate", "refused"]
    assert post("y", "a", "b", "c") == ["early", "early", "refused"]
    assert early(database) == 5
    assert arrive(database, ("a", 0)) == 1
    assert post("x", "e", "f") == ["early", "refused"]


def test_labels_of_answers_that_are_not_logged_are_not_kept(database: Database) -> None:
    ids = [f"r{number}" for number in range(200)]
    assert all(chosen(one, 0.3) == (_chance(one) < 0.3) for one in ids)  # as the workers choose
    outcomes = record(database, [Label(one, "cat") for one in ids], 5.0, share=0.3)
    assert {one for one, outcome in zip(ids, outcomes, strict=True) if outcome == "early"} == {
        one for one in ids if chosen(one, 0.3)
    }
    assert set(outcomes) == {"early", "unlogged"}


def test_no_table_is_read_whole_for_a_few_keys(database: Database) -> None:
    asked: list[tuple[str, object]] = []
    sa.event.listen(
        database.engine, "before_cursor_execute", lambda _c, _k, text, given, *_: asked.append((text, given))
    )
    with database.reading() as connection:
        for table in (PREDICTIONS, LABELS, EARLY_LABELS):
            rows(connection, table, [("a", 0), ("b", 1)], table.c.label)
            known(connection, table, ["a", "b"])
        sqlite = connection.dialect.name == "sqlite"
        statements = [one for one in asked if "asked" in one[0]]
        assert len(statements) == 6
        if not sqlite:
            for way in ("seqscan", "hashjoin", "mergejoin"):  # so small a table is read whole
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        for text, given in statements:
            explained = f"{'EXPLAIN QUERY PLAN' if sqlite else 'EXPLAIN'} {text}"
            plan = " ".join(str(row) for row in connection.exec_driver_sql(explained, given))  # type: ignore[arg-type]
            assert "request_id=?" in plan if sqlite else "Index Cond" in plan, plan


def test_a_whole_batch_goes_in_at_once_and_again(database: Database) -> None:
    answer(database, *((f"r{k}", 0) for k in range(AT_ONCE)))
    labels = [Label(f"r{k}", "cat") for k in range(AT_ONCE)]
    assert Counter(record(database, labels, 5.0)) == {"recorded": AT_ONCE}
    assert Counter(record(database, labels[::-1], 6.0)) == {"duplicate": AT_ONCE}
    assert record(database, [], 7.0) == []


def test_of_many_at_once_one_is_recorded(database_url: str, database: Database) -> None:
    count, keys = 6, 60
    answer(database, *((f"r{k}", 0) for k in range(keys)))
    outcomes: list[list[Outcome]] = [[] for _ in range(count)]
    start = threading.Barrier(count)

    def post(place: int) -> None:
        order = range(keys) if place % 2 else range(keys - 1, -1, -1)  # against each other
        own = Database(database_url)
        start.wait()
        said = record(own, [Label(f"r{k}", "cat" if place < 3 else "dog") for k in order], time.time())
        outcomes[place] = [one for _, one in sorted(zip(order, said, strict=True))]
        own.close()

    threads = [threading.Thread(target=post, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for told in zip(*outcomes, strict=True):
        assert Counter(told) == {"recorded": 1, "duplicate": 2, "conflict": 3}
