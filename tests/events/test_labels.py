import threading
import time
from collections import Counter

import sqlalchemy as sa

from events.database import Database
from events.labels import AT_ONCE, Label, Outcome, record
from events.tables import LABELS, PREDICTIONS

ANSWERED = {"model": "m", "version": "1.0", "time": 1.0, "picked": True, "label": "cat", "answer": "[]"}


def answer(database: Database, *keys: tuple[str, int]) -> None:
    with database.writing() as connection:
        database.add_new(connection, PREDICTIONS, [ANSWERED | {"request_id": a, "instance": b} for a, b in keys])


def kept(database: Database) -> dict[tuple[str, int], str]:
    with database.reading() as connection:
        return {(row.request_id, row.instance): row.label for row in connection.execute(sa.select(LABELS))}


def test_every_label_has_an_outcome(database: Database) -> None:
    answer(database, ("a", 0), ("a", 1))
    posted = [Label("a", "cat"), Label("a", "dog", 1), Label("a", "cat", 2), Label("b", "cat"), Label("a", "cat")]
    assert record(database, posted, 5.0) == ["recorded", "recorded", "early", "early", "duplicate"]
    assert record(database, [Label("a", "dog"), Label("a", "dog", 1)], 6.0) == ["conflict", "duplicate"]
    assert kept(database) == {("a", 0): "cat", ("a", 1): "dog", ("a", 2): "cat", ("b", 0): "cat"}


def test_the_first_of_two_in_one_list_stands(database: Database) -> None:
    assert record(database, [Label("a", "cat"), Label("a", "dog")], 5.0) == ["early", "conflict"]
    assert kept(database) == {("a", 0): "cat"}


def test_an_early_label_is_there_when_its_prediction_comes(database: Database) -> None:
    assert record(database, [Label("a", "cat")], 5.0) == ["early"]
    answer(database, ("a", 0))
    assert record(database, [Label("a", "cat")], 6.0) == ["duplicate"]
    assert kept(database) == {("a", 0): "cat"}


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
