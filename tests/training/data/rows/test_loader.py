from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.raw_tables import RAW_RELEASES, RAW_ROWS
from training.data.reading.style import Style
from training.data.rows.importer import import_path, import_synthetic
from training.data.rows.loader import Release, ReleaseError, checked_week, release, week_of

NOW = 1_795_000_000.0
WEEK_S = 7 * 86_400


def load(
    database: Database, week: str, family: str = "catalog", share: float = 0.03
) -> tuple[int, int, dict[str, float]]:
    done = release(database, family, share, 0.2, week, NOW)
    return done.rows, done.visible, done.shifts


def test_a_year_of_weeks_grows_by_three_percent_each(database: Database) -> None:
    (made,) = import_synthetic(database, "catalog", 1500, 0, NOW)
    found = [release(database, "catalog", 0.03, 0.2, None, NOW + number * WEEK_S) for number in range(52)]
    assert len({one.week for one in found}) == 52
    visible = 0
    for one in found:
        assert one.state == "released" and one.imported == made.added
        wanted = visible * 0.03 if visible else made.added * 0.2
        assert wanted <= one.rows < wanted + 1 or one.visible == made.added
        visible += one.rows
        assert one.visible == visible
    assert visible > 0.9 * made.added
    assert sum(bool(one.shifts) for one in found) <= 1  # the rows come in a random order: nothing moves
    with database.reading() as connection:
        counts = connection.execute(
            sa.select(RAW_ROWS.c.week, sa.func.count()).where(RAW_ROWS.c.week != "").group_by(RAW_ROWS.c.week)
        ).all()
        assert connection.execute(sa.select(sa.func.count()).select_from(RAW_RELEASES)).scalar_one() == 52
    assert {week: count for week, count in counts} == {one.week: one.rows for one in found}


def test_a_week_is_released_once(empty: Database) -> None:
    import_synthetic(empty, "catalog", 100, 0, NOW)
    first = release(empty, "catalog", 0.03, 0.2, "2026-W48", NOW)
    import_synthetic(empty, "catalog", 100, 1, NOW)
    again = release(empty, "catalog", 0.5, 0.9, "2026-W48", NOW)
    assert (again.state, again.rows, again.sha256) == ("known", first.rows, first.sha256)
    with pytest.raises(ReleaseError, match="after 2026-W48"):
        load(empty, "2026-W47")


def test_when_all_is_visible_the_week_stays_open_for_what_is_imported_later(empty: Database) -> None:
    import_synthetic(empty, "catalog", 20, 0, NOW)
    load(empty, "2026-W48", share=1.0)
    load(empty, "2026-W49", share=9.0)
    assert release(empty, "catalog", 0.1, 0.2, "2026-W50", NOW).state == "nothing left"
    import_synthetic(empty, "catalog", 20, 1, NOW)
    assert release(empty, "catalog", 0.1, 0.2, "2026-W50", NOW).state == "released"


def test_rows_with_a_time_come_in_its_order(empty: Database) -> None:
    import_synthetic(empty, "market", 400, 0, NOW)
    for week in ("2026-W48", "2026-W49"):
        load(empty, week, "market", 0.5)
    with empty.reading() as connection:
        spans = [
            connection.execute(
                sa.select(sa.func.min(RAW_ROWS.c.moment), sa.func.max(RAW_ROWS.c.moment)).where(RAW_ROWS.c.week == week)
            ).one()
            for week in ("2026-W48", "2026-W49", "")
        ]
    assert spans[0][1] <= spans[1][0] and spans[1][1] <= spans[2][0]


@pytest.mark.parametrize("moved", [False, True])
def test_a_shift_of_what_is_new_is_reported_and_does_not_stop_it(empty: Database, tmp_path: Path, moved: bool) -> None:
    lines = ["date,label,amount"]
    for number in range(600):
        month, day = divmod(number, 28)
        factor = 20 if moved and number >= 400 else 1
        lines.append(
            f"{2020 + month // 12}-{month % 12 + 1:02d}-{day + 1:02d},SHOP {number % 7},{-(number % 13 + 1) * factor}.5"
        )
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    import_path(empty, "budget", tmp_path, Style(), NOW)
    release(empty, "budget", 0.5, 400 / 600, "2026-W47", NOW)
    rows, visible, shifts = load(empty, "2026-W48", "budget", 0.5)
    assert (rows, visible) == (200, 600)
    assert list(shifts) == (["transactions.amount"] if moved else [])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"content": '{"designation":"another"}'}, "not what was imported"),
        ({"kind": "nothing"}, "expected one of catalog"),
    ],
)
def test_rows_that_were_changed_in_the_database_are_not_released(
    empty: Database, change: dict[str, str], why: str
) -> None:
    import_synthetic(empty, "catalog", 50, 0, NOW)
    with empty.writing() as connection:
        connection.execute(sa.update(RAW_ROWS).values(**change))
    with pytest.raises(ReleaseError, match=why):
        load(empty, "2026-W48")
    with empty.reading() as connection:
        assert connection.execute(sa.select(RAW_ROWS.c.week).distinct()).scalars().all() == [""]


def test_of_two_loaders_at_once_one_releases(database: Database, database_url: str) -> None:
    import_synthetic(database, "catalog", 100, 0, NOW)

    def act(_: int) -> Release:
        mine = Database(database_url)
        done = release(mine, "catalog", 0.03, 0.2, "2026-W48", NOW)
        mine.close()
        return done

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(act, range(4)))
    assert sorted(one.state for one in found) == ["known", "known", "known", "released"]
    assert {(one.rows, one.sha256) for one in found} == {(found[0].rows, found[0].sha256)}
    assert load(database, "2026-W49")[1] == found[0].rows + 1


def test_before_an_import_a_release_says_what_to_do(empty: Database) -> None:
    with pytest.raises(ReleaseError, match="import --family catalog"):
        load(empty, "2026-W48")


def test_weeks_are_those_of_iso() -> None:
    assert week_of(1_798_761_600.0) == "2026-W53"
    for wrong in ("2026-48", "2026-W54", "2025-W53", "last week", "2026-W48\n"):
        with pytest.raises(ReleaseError, match="2026-W48"):
            checked_week(wrong)
