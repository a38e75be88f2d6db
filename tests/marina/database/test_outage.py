from marina.database.outage import Outage


def test_an_outage_is_told_of_once_and_its_end_once() -> None:
    told: list[str] = []
    outage = Outage(told.append, "all waits")
    outage.end()
    for _ in range(2):
        for _ in range(3):
            outage.begin(OSError("no route\nand more"))
        assert outage.on
        outage.end()
        outage.end()
        assert not outage.on
    assert told == ["the database is unavailable; all waits (no route)", "the database is available again"] * 2
