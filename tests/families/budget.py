"""Good and bad budget requests, and a tiny training of every model, for the tests that send some."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tests.bad_requests import Bad, sent
from training.budget import release as budget_release
from training.budget.anomaly import recipe as budget_anomaly
from training.budget.categorizer import recipe as budget_categorizer
from training.budget.forecast import recipe as budget_forecast
from training.budget.synthetic.accounts import Synthesis
from training.packaging.archive import Release

MODELS: tuple[str, ...] = ("budget_categorizer", "budget_anomaly", "budget_forecast")


ACCOUNTS = Synthesis(users=8, months=5)
HOUSEHOLDS = Synthesis(users=5, months=21)
"""What `budget_anomaly` and `budget_forecast` are trained on."""


@cache
def trained() -> dict[str, Any]:
    """Train every model on a few generated households, quickly."""
    with tempfile.TemporaryDirectory(prefix="marina-budget-") as folder:
        home = Path(folder)
        anomaly = budget_anomaly.Options(home=home, users=ACCOUNTS.users, months=ACCOUNTS.months, quick=True)
        forecast = budget_forecast.Options(home=home, users=HOUSEHOLDS.users, months=HOUSEHOLDS.months, quick=True)
        categorizer = budget_categorizer.Options(home=home, synthesis=Synthesis(users=8, months=2), quick=True)
        assert anomaly.seed == ACCOUNTS.seed and forecast.seed == HOUSEHOLDS.seed
        return {
            "budget_categorizer": budget_categorizer.train(categorizer),
            "budget_anomaly": budget_anomaly.train(anomaly),
            "budget_forecast": budget_forecast.train(forecast),
        }


@cache
def releases() -> dict[str, Release]:
    """Return what they are released as."""
    return {model: budget_release.release(one, "1.0") for model, one in trained().items()}


def good(model: str) -> list[dict[str, Any]]:
    """Return requests that a model answers."""
    return {
        "budget_categorizer": _good_categorizer,
        "budget_anomaly": _good_anomaly,
        "budget_forecast": _good_forecast,
    }[model]()


def bad(model: str) -> dict[str, Bad]:
    """Return requests that a model refuses, by what is wrong with them."""
    return {"budget_categorizer": _bad_categorizer, "budget_anomaly": _bad_anomaly, "budget_forecast": _bad_forecast}[
        model
    ]()


def payment(
    label: str = "CARTE 12/03 CARREFOUR CITY PARIS", amount: float = -42.5, day: str = "2026-03-13"
) -> dict[str, Any]:
    """Return one transaction as it is sent."""
    return {"label": label, "amount": amount, "date": day}


def _good_categorizer() -> list[dict[str, Any]]:
    return [
        payment(),
        {
            **payment("PRLV SEPA EDF CLIENTS PARTICULIERS ECH/150324 MDT/MA1234567", -92.1),
            "account": "joint",
            "user": "u1",
        },
        payment("SARL MARTIN LYON", -18, "2024-02-29"),
        payment("VIR SEPA RECU /DE EMPLOYEUR /MOTIF SALAIRE", 2300),
        payment("CHEQUE 1234567", 0, "1900-01-01"),
        {**payment("é" * 200, 1e9, "2199-12-31"), "account": None, "user": ""},
    ]


def _bad_categorizer() -> dict[str, Bad]:
    def asked(**changed: Any) -> Bad:
        return sent({**payment(), **changed}, field=next(iter(changed)))

    def without(name: str) -> Bad:
        return sent({key: value for key, value in payment().items() if key != name}, field=name)

    def among(field: str, **changed: Any) -> Bad:
        return sent({"instances": [payment(), {**payment(), **changed}]}, field=f"instances[1].{field}")

    return {
        **{f"no {name}": without(name) for name in ("amount", "date")},
        "a label a number": asked(label=3),
        "a label a list": asked(label=["CB PAUL"]),
        "a label of 4097 characters": asked(label="x" * 4097),
        "an amount in words": asked(amount="douze euros"),
        "an amount that can mean two": asked(amount="-1,234"),
        "an amount in dollars": asked(amount="-3 USD"),
        "an amount null": asked(amount=None),
        "an amount true": asked(amount=True),
        "an amount of 1e30": asked(amount=1e30),
        "a date of another form": asked(date="13/03/2026"),
        "a date that does not exist": asked(date="2026-02-30"),
        "an instant that does not exist": asked(date="2026-03-13T25:00:00Z"),
        "an account a number": asked(account=1),
        "a user of 65 characters": asked(user="u" * 65),
        "a label a number among instances": among("label", label=0),
        "an amount of two points among instances": among("amount", amount="3.1.2"),
        "a date null among instances": among("date", date=None),
        "a user a list among instances": among("user", user=[]),
    }


def history() -> list[dict[str, Any]]:
    """Return two months of one user."""
    return [
        payment(f"CARTE {day:02d}/0{month} {shop}", -amount - day / 10, f"2026-0{month}-{day:02d}")
        for month in (1, 2)
        for day, shop, amount in (
            (2, "CARREFOUR CITY PARIS", 41),
            (5, "SNCF CONNECT", 60),
            (9, "CARREFOUR CITY PARIS", 38),
            (12, "BOULANGERIE PAUL", 6),
            (16, "CARREFOUR CITY PARIS", 44),
            (19, "BOULANGERIE PAUL", 7),
            (23, "CARREFOUR CITY PARIS", 40),
        )
    ]


def _good_anomaly() -> list[dict[str, Any]]:
    twice = [
        payment("CARTE 02/03 FNAC PARIS", -89.9, "2026-03-03"),
        payment("CARTE 02/03 FNAC 75PARIS", -89.9, "2026-03-04"),
    ]
    return [
        {"transactions": twice, "history": history()},
        {"transactions": [payment()]},
        {"transactions": [payment("CARTE 10/03 CRYPTEX MARKET", -900, "2026-03-11"), *twice], "history": history()[:3]},
        {"transactions": history(), "history": [], "thresholds": {"suspicious": 0.01, "anomalous": 0.5}},
        {"transactions": [payment(label="é" * 200, amount=0, day="2199-12-31")], "thresholds": {"anomalous": 1}},
    ]


def _bad_anomaly() -> dict[str, Bad]:
    def asked(**changed: Any) -> Bad:
        return sent(
            {"transactions": [payment(), {**payment(), **changed}]}, field="transactions[1]." + next(iter(changed))
        )

    return {
        "no transactions": sent({"history": history()}, field="transactions"),
        "transactions empty": sent({"transactions": []}, field="transactions"),
        "transactions null": sent({"transactions": None}, field="transactions"),
        "transactions an object": sent({"transactions": payment()}, field="transactions"),
        "101 transactions": sent({"transactions": [payment()] * 101}, field="transactions"),
        "501 rows of history": sent({"transactions": [payment()], "history": [payment()] * 501}, field="history"),
        "history a string": sent({"transactions": [payment()], "history": "none"}, field="history"),
        "a transaction a list": sent({"transactions": [payment(), ["label", -3]]}, field="transactions[1]"),
        "a transaction null": sent({"transactions": [payment()], "history": [None]}, field="history[0]"),
        "no amount": sent({"transactions": [{"label": "X", "date": "2026-01-01"}]}, field="transactions[0].amount"),
        "no date": sent({"transactions": [{"label": "X", "amount": -1}]}, field="transactions[0].date"),
        "an unknown field of a transaction": asked(colour="red"),
        "a label a number": asked(label=3),
        "a label of 4097 characters": asked(label="x" * 4097),
        "an amount in words": asked(amount="trois"),
        "an amount that can mean two": asked(amount="1.234"),
        "an amount true": asked(amount=True),
        "an amount null": asked(amount=None),
        "an amount of 1e30": asked(amount=1e30),
        "a date a number": asked(date=20260313),
        "a date of another form": asked(date="13/03/2026"),
        "a date that does not exist": asked(date="2026-02-30"),
        "an instant that does not exist": asked(date="2026-02-30T10:00:00+01:00"),
        "a date of year 0": asked(date="0000-01-01"),
        "thresholds a number": sent({"transactions": [payment()], "thresholds": 0.5}, field="thresholds"),
        "an unknown threshold": sent({"transactions": [payment()], "thresholds": {"odd": 0.5}}, field="thresholds.odd"),
        "a threshold above 1": sent(
            {"transactions": [payment()], "thresholds": {"suspicious": 1.5}}, field="thresholds.suspicious"
        ),
        "thresholds the wrong way round": sent(
            {"transactions": [payment()], "thresholds": {"suspicious": 0.9, "anomalous": 0.1}},
            field="thresholds.anomalous",
        ),
    }  # fmt: skip


def category(name: str = "alimentation", **changed: Any) -> dict[str, Any]:
    """Return one category as it is sent: two years around 300 a month, 120 so far."""
    months = [300 + 40 * ((7 * k) % 5 - 2) for k in range(24)]
    by_now = [0.4 * month for month in months[-12:]]
    return {"name": name, "months": months, "spent": 120.0, "by_now": by_now, **changed}


def subscription(price: float, month: int, label: str = "PRLV SEPA NETFLIX") -> dict[str, Any]:
    """Return one charge of a subscription."""
    return {"category": "abonnements", "label": label, "amount": -price, "date": f"2026-{month:02d}-07"}


def _good_forecast() -> list[dict[str, Any]]:
    charges = [subscription(9.99 if month < 6 else 13.99, month) for month in range(1, 11)]
    return [
        {"month": "2026-11", "day": 12, "categories": [category(), category("logement", months=[800] * 24, spent=800)]},
        {"month": "2026-02", "day": 0, "categories": [category(spent=0, by_now=None, months=[100.5] * 12)]},
        {"month": "2024-02", "day": 29, "categories": [category("voyages", months=[0] * 60, spent=0, budget=50)]},
        {
            "month": "2026-11",
            "day": 7,
            "categories": [category("abonnements", budget=100, by_now=[None] * 11 + [12]), category("é" * 200)],
            "transactions": charges,
        },
        {"month": "2026-11", "day": 30, "categories": [category(f"c{k}", months=[-20] * 13) for k in range(40)]},
    ]


def _bad_forecast() -> dict[str, Bad]:
    def asked(field: str, **changed: Any) -> Bad:
        return sent({"month": "2026-11", "day": 12, "categories": [category()], **changed}, field=field)

    def of(field: str, **changed: Any) -> Bad:
        return asked(f"categories[1].{field}", categories=[category(), category("loisirs", **changed)])

    return {
        "no month": sent({"day": 12, "categories": [category()]}, field="month"),
        "a month that does not exist": asked("month", month="2026-13"),
        "a month with a day": asked("month", month="2026-11-12"),
        "a month in words": asked("month", month="mai 26"),
        "a month a number": asked("month", month=202611),
        "no day": sent({"month": "2026-11", "categories": [category()]}, field="day"),
        "a 31st of November": asked("day", day=31),
        "a day below zero": asked("day", day=-1),
        "a day of 1.5": asked("day", day=1.5),
        "no categories": sent({"month": "2026-11", "day": 12}, field="categories"),
        "categories empty": asked("categories", categories=[]),
        "categories an object": asked("categories", categories={"alimentation": category()}),
        "41 categories": asked("categories", categories=[category(str(k)) for k in range(41)]),
        "a category twice": asked("categories", categories=[category(), category()]),
        "a category a list": asked("categories[1]", categories=[category(), []]),
        "an unknown field of a category": of("colour", colour=1),
        "no name": asked("categories[0].name", categories=[{"months": [1] * 12, "spent": 0}]),
        "a name empty": asked("categories[1].name", categories=[category(), {**category(), "name": ""}]),
        "a name of 201 characters": asked(
            "categories[1].name", categories=[category(), {**category(), "name": "a" * 201}]
        ),
        "a name a number": asked("categories[1].name", categories=[category(), {**category(), "name": 7}]),
        "no months": of("months", months=None),
        "11 months": of("months", months=[1] * 11),
        "61 months": of("months", months=[1] * 61),
        "months a number": of("months", months=3),
        "a month's total null": of("months[3]", months=[1, 2, 3, None] * 3),
        "a month's total in words": of("months[0]", months=["un"] * 12),
        "a month's total true": of("months[11]", months=[1] * 11 + [True]),
        "a month's total of 1e12": of("months[11]", months=[1] * 11 + [1e12]),
        "spent null": of("spent", spent=None),
        "spent true": of("spent", spent=True),
        "1e12 spent": of("spent", spent=1e12),
        "more by now than months": of("by_now", by_now=[1] * 25),
        "by now a string": of("by_now", by_now="x"),
        "a string by now": of("by_now[0]", by_now=["x"]),
        "-1e12 by now": of("by_now[1]", by_now=[1, -1e12]),
        "a budget below zero": of("budget", budget=-1),
        "a budget of 1e12": of("budget", budget=1e12),
        "a budget in words": of("budget", budget="cent"),
        "a transaction without a category": asked("transactions[0].category", transactions=[payment()]),
        "1001 transactions": asked("transactions", transactions=[subscription(5, 1)] * 1001),
    }
