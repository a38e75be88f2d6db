"""Every attack is refused, and leaves nothing behind."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from itsdangerous import URLSafeTimedSerializer
from starlette.routing import compile_path

from marina.console import people
from marina.console.sessions import COOKIE, Sessions
from marina.monitoring import alerts
from marina.settings import console_key
from tests.marina.console.browser import Browser, Console, finding

PAGES = (
    "/console", "/console/rollouts", "/console/rollouts/1", "/console/alerts", "/console/alerts/1",
    "/console/alerts/history", "/console/models/sums", "/console/ledger", "/console/ledger/verify",
    "/console/ledger/export", "/console/registry", "/console/reviews", "/console/annotation", "/console/rules",
    "/console/rules/history", "/console/rules/export", "/console/budget", "/console/market",
    "/console/models/sums/weeks", "/console/alerts/1/training", "/console/live/overview", "/console/live/rollouts/1",
)  # fmt: skip
FORMS = (
    ("/console/reviews", "annotator"),
    ("/console/reviews/thresholds", "operator"),
    ("/console/annotation", "annotator"),
    ("/console/annotation/undo", "annotator"),
    ("/console/budget/recommendations", "annotator"),
    ("/console/rules/import", "operator"),
    ("/console/rules/save", "operator"),
    ("/console/rules/restore", "operator"),
    ("/console/rules/release", "operator"),
    ("/console/rollouts/1/pause", "operator"),
    ("/console/rollouts/1/abort", "operator"),
    ("/console/rollouts/1/approve", "approver"),
    ("/console/rollouts/1/roll-back", "operator"),
    ("/console/alerts/1/acknowledge", "operator"),
    ("/console/alerts/1/decide", "operator"),
    ("/console/models/sums/retrain", "operator"),
    ("/console/models/sums/roll-back", "operator"),
    ("/console/models/sums/thresholds", "operator"),
)
CALLS: tuple[tuple[str, str, Any, str], ...] = (
    ("POST", "/api/trigger-retrain", {"model": "sums", "reason": "x"}, "operator"),
    ("POST", "/api/rollback-model", {"model": "sums", "reason": "x"}, "operator"),
    ("GET", "/api/alerts", None, "viewer"),
    ("GET", "/api/overview", None, "viewer"),
    ("POST", "/api/alerts/1/acknowledge", {}, "operator"),
    ("POST", "/api/alerts/1/decide", {"action": "nothing", "reason": "x"}, "operator"),
    ("POST", "/api/rollouts/sums/pause", {"reason": "x"}, "operator"),
    ("POST", "/api/rollouts/sums/approve", {"reason": "x"}, "approver"),
)
FIELDS = {"why": "because", "action": "nothing", "warning": "0.05", "alert": "0.2", "critical": "0.3"}
SCRIPT = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


@dataclass(frozen=True)
class Attack:
    """What someone sends, and with which statuses it may be refused."""

    name: str
    send: Callable[[Console], httpx.Response]
    refused: tuple[int, ...] = (401, 403)
    more: dict[str, Any] = field(default_factory=dict)


def _pages() -> list[Attack]:
    return [Attack(f"no session: {page}", _load(page), (303,)) for page in PAGES]


def _load(page: str) -> Callable[[Console], httpx.Response]:
    return lambda c: c.browser().get(page)


def _forms() -> list[Attack]:
    found = []
    for action, role in FORMS:

        def without(c: Console, action: str = action, **more: Any) -> httpx.Response:
            return c.browser().request("POST", action, data=FIELDS, **more)

        def weaker(c: Console, action: str = action, role: str = role) -> httpx.Response:
            mine = c.browser(people.ROLES[people.ROLES.index(role) - 1])
            return mine.request("POST", action, data={**FIELDS, "csrf": mine.form_token(action)})

        def missing(c: Console, action: str = action) -> httpx.Response:
            return c.browser("approver").request("POST", action, data=FIELDS)

        def foreign(c: Console, action: str = action) -> httpx.Response:
            token = c.browser("operator").form_token(action)
            return c.browser("approver").request("POST", action, data={**FIELDS, "csrf": token})

        def of_another_form(c: Console, action: str = action) -> httpx.Response:
            mine = c.browser("approver")
            return mine.request("POST", action, data={**FIELDS, "csrf": mine.token("/console", "/console/sign-out")})

        found += [
            Attack(f"no session: {action}", without),
            Attack(f"wrong role: {action}", weaker, (403,)),
            Attack(f"no form token: {action}", missing, (403,)),
            Attack(f"another's form token: {action}", foreign, (403,)),
            Attack(f"another form's token: {action}", of_another_form, (403,)),
        ]
    return found


def _with(call: Callable[..., httpx.Response], headers: dict[str, str]) -> Callable[[Console], httpx.Response]:
    return lambda c: call(c, headers)


def _calls() -> list[Attack]:
    found = []
    for method, path, body, role in CALLS:

        def call(
            c: Console, headers: dict[str, str], method: str = method, path: str = path, body: Any = body
        ) -> httpx.Response:
            return Browser(c.app).request(method, path, headers=headers, **({} if body is None else {"json": body}))

        def with_cookie(c: Console, method: str = method, path: str = path, body: Any = body) -> httpx.Response:
            return c.browser("approver").request(method, path, **({} if body is None else {"json": body}))

        def weaker(c: Console, call: Any = call, role: str = role) -> httpx.Response:
            low = people.ROLES[people.ROLES.index(role) - 1]
            answer: httpx.Response = call(c, {"authorization": f"Bearer {c.tokens[low]}"})
            return answer

        found += [
            Attack(f"no token: {path}", _with(call, {}), (401,)),
            Attack(f"wrong token: {path}", _with(call, {"authorization": "Bearer ada~x"}), (401,)),
            Attack(f"cookie in place of a token: {path}", with_cookie, (401,)),
        ]
        if role != "viewer":
            found.append(Attack(f"wrong role: {path}", weaker, (403,)))
    return found


def _forged(make: Callable[[Console], str]) -> Callable[[Console], httpx.Response]:
    def send(c: Console) -> httpx.Response:
        mine = Browser(c.app)
        mine.cookies.set(COOKIE, make(c), domain="localhost.local", path="/console")
        return mine.get("/console", headers={"cookie": f"{COOKIE}={make(c)}"})

    return send


def _as(c: Console, body: bytes | dict[str, str], **headers: str) -> httpx.Response:
    mine = c.browser("approver")
    action = "/console/alerts/1/acknowledge"
    token = mine.token("/console/alerts/1", action)
    if isinstance(body, dict):
        return mine.request("POST", action, data={"csrf": token, **body}, headers=headers)
    return mine.request("POST", action, content=body.replace(b"TOKEN", token.encode()), headers=headers)


def _rest() -> list[Attack]:
    form = {"content-type": "application/x-www-form-urlencoded"}
    call = {"method": "POST", "path": "/api/trigger-retrain"}

    def api(c: Console, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {c.tokens['approver']}", **more.pop("headers", {})}
        return Browser(c.app).request(**{**call, "headers": headers, **more})

    return [
        Attack("forged session", _forged(lambda c: Sessions("another key", 3600).begin("approver-one")), (303,)),
        Attack("unsigned session", _forged(lambda c: "WyJhcHByb3Zlci1vbmUiLDEsIngiXQ.x.y"), (303,)),
        Attack("session of a form's key", _forged(lambda c: URLSafeTimedSerializer(console_key(c.settings), "form").dumps(["approver-one", time.time(), "x"])), (303,)),  # noqa: E501
        Attack("session of no one", _forged(lambda c: Sessions(console_key(c.settings), 9).begin("ghost")), (303,)),
        Attack("session with a name of markup", _forged(lambda c: Sessions(console_key(c.settings), 9).begin(SCRIPT)), (303,)),  # noqa: E501
        Attack("form from another site", lambda c: _as(c, FIELDS, origin="https://evil.example"), (403,)),
        Attack("form from a sandbox", lambda c: _as(c, FIELDS, origin="null"), (403,)),
        Attack("cross-site by its own word", lambda c: _as(c, FIELDS, **{"sec-fetch-site": "cross-site"}), (403,)),
        Attack("same site, other host", lambda c: _as(c, FIELDS, **{"sec-fetch-site": "same-site"}), (403,)),
        Attack("another host's name", lambda c: _as(c, FIELDS, origin="http://localhost:8080", host="evil"), (403,)),
        Attack("JSON for a form", lambda c: _as(c, b"{}", **{"content-type": "application/json"}), (415,)),
        Attack("text for a form", lambda c: _as(c, b"csrf=TOKEN&why=x", **{"content-type": "text/plain"}), (415,)),
        Attack("too many fields", lambda c: _as(c, b"csrf=TOKEN" + b"&a=1" * 100, **form), (400,)),
        Attack("too large a form", lambda c: _as(c, b"csrf=TOKEN&why=" + b"x" * 600_000, **form), (413,)),
        Attack("no UTF-8", lambda c: _as(c, b"csrf=TOKEN&why=\xff", **form), (400,)),
        Attack("no number of an alert", lambda c: c.browser("viewer").get("/console/alerts/1%20or%201=1"), (422,)),
        Attack("a number beyond integers", lambda c: c.browser("viewer").get(f"/console/alerts/{10**30}"), (422,)),
        Attack("negative number", lambda c: c.browser("viewer").get("/console/rollouts/-1"), (422,)),
        Attack("path up from static", lambda c: Browser(c.app).get("/console/static/..%2f..%2fapp.py"), (404,)),
        Attack("path of templates", lambda c: Browser(c.app).get("/console/static/../templates/base.html"), (303, 404)),
        Attack("path in a version", lambda c: c.browser("viewer").get("/console/registry/..%2f..%2fetc/x"), (404,)),
        Attack("path to compare", lambda c: c.browser("viewer").get("/console/registry?left=../x:1&right=sums:1.0"), (404,)),  # noqa: E501
        Attack("header in a version", lambda c: api(c, path="/api/rollback-model", json={"model": "sums", "reason": "x", "to": "1\r\nX: y"}), (422,)),  # noqa: E501
        Attack("path for a model", lambda c: api(c, json={"model": "../../x", "reason": "x"}), (422,)),
        Attack("address for a model", lambda c: api(c, json={"model": "http://169.254.169.254/", "reason": "x"}), (422,)),  # noqa: E501
        Attack("unknown model", lambda c: api(c, json={"model": "other", "reason": "x"}), (404,)),
        Attack("no reason", lambda c: api(c, json={"model": "sums", "reason": "  "}), (422,)),
        Attack("NUL in a reason", lambda c: api(c, json={"model": "sums", "reason": "a\0b"}), (422,)),
        Attack("too long a reason", lambda c: api(c, json={"model": "sums", "reason": "x" * 501}), (422,)),
        Attack("another's name", lambda c: api(c, json={"model": "sums", "reason": "x", "who": "boss"}), (422,)),
        Attack("broken JSON", lambda c: api(c, content=b"{", headers={"content-type": "application/json"}), (400, 422)),
        Attack("too large a call", lambda c: api(c, json={"model": "sums", "reason": "x" * 2_000_000}), (413,)),
        Attack("method", lambda c: api(c, method="PUT", json={}), (405,)),
        Attack("no decision", lambda c: api(c, path="/api/alerts/1/decide", json={"action": "drop", "reason": "x"}), (422,)),  # noqa: E501
        Attack("no such alert", lambda c: api(c, path="/api/alerts/77/acknowledge", json={}), (404, 409)),
        Attack("no order", lambda c: api(c, path="/api/rollouts/sums/destroy", json={"reason": "x"}), (422,)),
        Attack("empty token", lambda c: Browser(c.app).sign_in(""), (401,)),
        Attack("NUL token", lambda c: Browser(c.app).sign_in("viewer-one~\0"), (401,)),
        Attack("hash for a token", lambda c: Browser(c.app).sign_in("viewer-one~$argon2id$v=19$m=8,t=1,p=1$"), (401,)),
        Attack("token of another's name", lambda c: Browser(c.app).sign_in("approver-one~" + c.tokens["viewer"].partition("~")[2]), (401,)),  # noqa: E501
        Attack("giant token", lambda c: Browser(c.app).sign_in("x" * 5000), (401,)),
    ]  # fmt: skip


ATTACKS = [*_pages(), *_forms(), *_calls(), *_rest()]


ADDRESSES = (
    "alerts?before=", "alerts/history?before=", "alerts/", "rollouts?before=", "rollouts/", "live/rollouts/",
    "ledger?before=", "registry?after=", "rules?after=", "rules/history?before=", "rules/export?number=",
    "alerts/NUMBER/training",
)  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_number_in_an_address_has_bounds(shared: Console, address: str) -> None:
    for number in (2**63, -1):
        path = address.replace("NUMBER", str(number)) if "NUMBER" in address else f"{address}{number}"
        assert shared.browser("viewer").get(f"/console/{path}").status_code == 422


@pytest.mark.parametrize("attack", ATTACKS, ids=[one.name for one in ATTACKS])
def test_an_attack_is_refused_and_leaves_nothing(shared: Console, attack: Attack) -> None:
    shared.app.state.context.access.attempts._wrong.clear()
    before = len(shared.rows())
    answer = attack.send(shared)
    assert answer.status_code in attack.refused, answer.text[:300]
    assert len(shared.rows()) == before
    if answer.status_code == 303:
        assert answer.headers["location"].startswith("/console/sign-in")
    assert "<script>alert" not in answer.text and "Traceback" not in answer.text


def test_every_form_is_attacked(shared: Console) -> None:
    posts = {one.path or "" for one in iter_route_contexts(shared.app.routes) if "POST" in (one.methods or ())}
    forms = {path for path in posts if path.startswith("/console/")} - {"/console/sign-in", "/console/sign-out"}
    attacked = [compile_path(path)[0] for path in forms]
    assert forms and all(any(path.match(action) for action, _ in FORMS) for path in attacked)


def test_words_of_others_are_text_on_every_page(console: Console) -> None:
    number = alerts.open_alert(
        console.database, finding(what=SCRIPT, harm=SCRIPT, name=SCRIPT[:60], model=SCRIPT, version=SCRIPT), time.time()
    )
    mine = console.browser("operator")
    mine.submit("/console/rollouts/1", "/console/rollouts/1/pause", why=SCRIPT)
    for page in (
        *PAGES[:8],
        "/console/alerts?state=all&model=" + SCRIPT.replace('"', "%22"),
        f"/console/alerts/{number}",
    ):
        text = mine.get(page).text
        assert "<script>alert" not in text and "<img src=x" not in text
        tags = " ".join(re.findall(r"<[a-z][^>]*>", text))
        assert not re.search(r"\son\w+=|style=|javascript:", tags)
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


@pytest.mark.parametrize("page", [*PAGES[:-2], "/console/sign-in", "/console/none", "/console/openapi.json"])
def test_no_page_can_be_framed_or_run_other_scripts(shared: Console, page: str) -> None:
    headers = shared.browser("viewer").get(page).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_guessing_is_slowed_down_and_others_are_not(console: Console) -> None:
    guesser = Browser(console.app, "10.6.6.6")
    statuses = [guesser.sign_in(f"approver-one~{n}").status_code for n in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    refused = guesser.sign_in(console.tokens["approver"])
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
    bearer = {"authorization": f"Bearer {console.tokens['approver']}"}
    assert guesser.get("/api/alerts", headers=bearer).status_code == 429
    assert Browser(console.app, "10.0.0.9").sign_in(console.tokens["approver"]).status_code == 303


def test_the_cookie_is_for_this_site_alone_and_out_of_scripts_reach(console: Console) -> None:
    answer = Browser(console.app).sign_in(console.tokens["viewer"])
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/console" in cookie and "secure" not in cookie
    over_tls = Browser(console.app).request(
        "POST", "/console/sign-in", data={"token": console.tokens["viewer"]}, headers={"x-forwarded-proto": "https"}
    )
    assert "secure" in over_tls.headers["set-cookie"].lower()


@pytest.mark.parametrize("onward", ["https://evil.example", "//evil.example", "/console/\r\nx: y", "/\\evil", "/api"])
def test_no_address_leads_elsewhere(shared: Console, onward: str) -> None:
    signed = Browser(shared.app).request(
        "POST", "/console/sign-in", data={"token": shared.tokens["viewer"], "next": onward}
    )
    assert signed.headers["location"] == "/console"
    looked = Browser(shared.app).request("GET", "/console/look", params={"lang": "fr", "next": onward})
    assert looked.headers["location"] == "/console"


def test_who_signed_out_or_was_revoked_is_out_at_once(console: Console) -> None:
    mine, copied = console.browser("operator"), console.browser()
    copied.cookies = httpx.Cookies(mine.cookies)
    assert copied.get("/console").status_code == 200
    mine.submit("/console", "/console/sign-out")
    assert copied.get("/console").status_code == 303
    viewer = console.browser("viewer")
    bearer = {"authorization": f"Bearer {console.tokens['viewer']}"}
    assert console.browser().get("/api/alerts", headers=bearer).status_code == 200
    people.revoke(console.database, "viewer-one", "test", time.time())
    assert viewer.get("/console").status_code == 303
    assert console.browser().get("/api/alerts", headers=bearer).status_code == 401


def test_no_secret_is_in_the_database_or_an_answer(console: Console) -> None:
    secret = console.tokens["approver"].partition("~")[2]
    mine = console.browser("approver")
    assert secret not in json.dumps([dict(row._mapping) for row in console.rows()])
    assert all(secret not in mine.get(page).text for page in PAGES[:-2])
    assert secret.encode() not in (console.settings.state_dir / "marina.db").read_bytes()
