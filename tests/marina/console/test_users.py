"""What people set for users, and what users told them: through the products' own stores, with a row of the ledger."""

from marina.console.decisions import FORECAST
from marina.products import user_settings
from marina.products.recommendations import recommend
from tests.marina.console.browser import Console

FINDING = {
    "kind": "overspend", "category": "<b>loisirs</b>", "over_eur": 20.0, "forecast_eur": 120.0, "limit_eur": 100.0,
    "spent_eur": 80.0, "probability": 0.8, "against": "budget",
}  # fmt: skip


def test_thresholds_of_a_user_are_set_and_given_back(console: Console) -> None:
    user_settings.write_channels(console.database, "u+1", ["https://a.example/x"], "fr")
    mine = console.browser("operator")
    page = "/console/reviews?user=u%2B1"
    assert "the model&#39;s own" in mine.get(page).text
    done = mine.submit(page, "/console/reviews/thresholds", user="u+1", suspicious="0,4", anomalous="0.9", why="noise")
    assert done.headers["location"] == page
    own = user_settings.read(console.database, "u+1")
    assert own.thresholds == {"suspicious": 0.4, "anomalous": 0.9} and own.channels == ("https://a.example/x",)
    before = len(console.rows())
    for values in ({"suspicious": "0.9", "anomalous": "0.4"}, {"anomalous": "0.4"}, {"suspicious": "nan"}):
        wrong = mine.submit(page, "/console/reviews/thresholds", user="u+1", why="noise", **values)
        assert wrong.status_code == 409, values
    assert mine.submit(page, "/console/reviews/thresholds", user="../x", why="noise").status_code == 422
    assert len(console.rows()) == before
    mine.submit(page, "/console/reviews/thresholds", user="u+1", why="as it was")
    assert user_settings.read(console.database, "u+1").thresholds == {}
    last = console.rows()[-1]
    assert (last.who, last.action, last.model) == ("operator-one", "user thresholds", "budget_anomaly")
    assert '"before":{"anomalous":0.9,"suspicious":0.4}' in last.details.replace(" ", "")


def test_recommendations_show_what_users_found_and_take_what_they_told(console: Console) -> None:
    made = [recommend(user, "2026-03", FINDING) for user in ("u1", "u2", "u3")]
    for user, one in zip(("u1", "u2", "u3"), made, strict=True):
        assert one is not None
        user_settings.add_recommendations(console.database, user, "r", [one])
    idents = [one.id for one in made if one]
    assert user_settings.judge_recommendation(console.database, idents[0], relevant=False)
    mine, where = console.browser("annotator"), "/console/budget/recommendations"
    text = mine.get("/console/budget").text
    assert "<td>3</td><td>0</td><td>1</td><td>0 %</td>" in text and "&lt;b&gt;loisirs" in text
    told = mine.submit("/console/budget", where, recommendation=idents[1], found="useful", why="she called")
    assert told.status_code == 303
    assert "<td>3</td><td>1</td><td>1</td><td>50 %</td>" in mine.get("/console/budget").text
    rows = len(console.rows())
    for ident, found, status in ((idents[0], "useful", 409), ("0" * 32, "useful", 409), (idents[2], "so so", 422)):
        answer = mine.submit("/console/budget", where, recommendation=ident, found=found, why="x")
        assert answer.status_code == status
    assert len(console.rows()) == rows
    assert (console.rows()[-1].action, console.rows()[-1].model) == ("judge recommendation", FORECAST)
