import pytest

from models.budget.merchants import Found, Merchants, Profile

KNOWN = Merchants(
    [
        Profile("Carrefour", ("CARREFOUR", "CARREFOUR CITY", "CRF CITY")),
        Profile("Carrefour Voyages", ("CARREFOUR VOYAGES",)),
        Profile("Uber", ("UBER", "UBER TRIP")),
        Profile("Uber Eats", ("UBER EATS",)),
        Profile("Bricomarché", ("BRICOMARCHE",)),
        Profile("Paul", ("PAUL", "BOULANGERIE PAUL")),
    ]
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CARREFOUR CITY", "Carrefour"),
        ("CARREFOUR CITY BELLEVILLE", "Carrefour"),  # a store's own words
        ("CARREFUOR CITY", "Carrefour"),  # letters swapped
        ("CAREFOUR CITY", "Carrefour"),  # one lost
        ("XARREFOUR CITY", "Carrefour"),  # the first mistaken
        ("CARREFOUR VOYAGES", "Carrefour Voyages"),
        ("CARREFOUR VOYAGES LYON", "Carrefour Voyages"),  # the longer way says more
        ("UBER EATS PARIS", "Uber Eats"),
        ("UBER HELP", "Uber"),
        ("BRICOMAR", "Bricomarché"),  # cut off
        ("BRIC", None),  # cut off too short to tell
        ("SALON PAUL", None),  # another's first name
        ("PAULINE", None),
        ("SARL MARTIN", None),
        ("", None),
    ],
)
def test_a_text_means_a_merchant(text: str, name: str | None) -> None:
    found = KNOWN.find(text)
    assert (found.name if found else None) == name


def test_an_exact_text_is_wholly_alike_and_the_answer_stays_the_same() -> None:
    assert KNOWN.find("CRF CITY") == KNOWN.find("CRF CITY") == Found("Carrefour", 100.0)
    assert len(KNOWN) == 6


def test_the_first_of_two_that_are_written_alike_is_found() -> None:
    assert Merchants([Profile("A", ("X Y",)), Profile("B", ("X Y", "Z"))]).find("X Y") == Found("A", 100.0)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.budget.merchants.MOST_REMEMBERED", 10)
    merchants = Merchants([Profile("A", ("ALPHA",))])
    assert [merchants.find(f"ALPHA {'X' * count}") for count in range(1, 50)] == [Found("A", 95.0)] * 49
    assert len(merchants._known) <= 10
