"""Rules: a list to search, one to edit and try, all of them in and out, and every version."""

import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, Response

from marina.console import rule_book
from marina.console.access import Form, Number, Visitor
from marina.console.context import Context
from marina.console.errors import RefusedError, forbidden
from marina.console.rendering import see
from marina.console.rule_book import RuleBookError, Transactions, Trial
from marina.monitoring import requested_trainings
from models.budget.rules import RuleSet

PAGE = 40
LONGEST_RULE, LONGEST_FILE = 4_000, 400_000
NEW = "name: new-rule\ncategory: alimentation\nconfidence: 0.9\nkeywords: [EXAMPLE]\n"


@dataclass(frozen=True)
class Tried:
    """What came of looking at an edited rule: what is wrong with it, or what it would change."""

    wrong: str = ""
    trial: Trial | None = None
    problems: tuple[str, ...] = ()


def router(context: Context) -> APIRouter:  # noqa: PLR0915 - one page after another
    """Return the pages."""
    pages = APIRouter(prefix="/console", include_in_schema=False)
    viewer = Depends(context.access.page())
    editor = Depends(context.access.page("operator"))
    operator = Depends(context.access.form("operator"))

    def look(text: str, name: str, rules: RuleSet) -> Tried:
        try:
            whole = rule_book.with_rule(rules, rule_book.parse_rule(text), name)
            problems = tuple(rule_book.check(whole))
            trial = try_on(rules, rule_book.read_rules(whole))
        except RuleBookError as error:
            return Tried(str(error))
        return Tried("", trial, problems)

    def try_on(before: RuleSet, after: RuleSet) -> Trial:
        return rule_book.try_on(lately(), before, after)

    def lately() -> Transactions:
        with context.database.reading() as connection:
            return rule_book.kept(connection, time.time())

    def keep(form: Form, text: str, base: int) -> Response:
        """Keep a version that was checked and tried, wherever it comes from."""
        rule_book.check(text)
        rule_book.try_alone(lately(), rule_book.parse_rules(text))
        rule_book.save(context.database, text, form.person, form.why, time.time(), base)
        return see("/console/rules/history")

    @pages.get("/rules")
    def listing(request: Request, visitor: Annotated[Visitor, viewer], q: str = "", after: Number = 0) -> HTMLResponse:
        with context.database.reading() as connection:
            newest = rule_book.current(connection)
        found = list(enumerate(newest.rules.rules))
        sought = q.strip().lower()[:100]
        if sought:
            found = [
                (rank, one)
                for rank, one in found
                if sought in f"{one.name} {one.category} {' '.join(one.keywords)} {one.regex}".lower()
            ]
        shown = [one for one in found if one[0] >= after]
        return context.pages.page(
            request, "rules.html", visitor, newest=newest, rules=shown[:PAGE], q=q, count=len(found),
            more=shown[PAGE][0] if len(shown) > PAGE else None,
        )  # fmt: skip

    @pages.get("/rules/edit")
    def edit(request: Request, visitor: Annotated[Visitor, viewer], name: str = "", text: str = "") -> HTMLResponse:
        with context.database.reading() as connection:
            newest = rule_book.current(connection)
        rules = newest.rules
        there = next((one for one in rules.rules if one.name == name), None)
        text = text[:LONGEST_RULE]
        if text.strip() and not visitor.person.may("operator"):
            raise forbidden("operator", visitor.person.role)
        tried = look(text, there.name if there else "", rules) if text.strip() else None
        shown = text or (rule_book.rule_text(there) if there else NEW)
        return context.pages.page(
            request, "rule.html", visitor, name=there.name if there else "", text=shown, tried=tried, newest=newest
        )

    @pages.get("/rules/check")
    def check(request: Request, visitor: Annotated[Visitor, editor], text: str = "") -> HTMLResponse:
        """Say what is wrong with a rule while it is typed."""
        try:
            rule_book.parse_rule(text[:LONGEST_RULE])
            wrong = ""
        except RuleBookError as error:
            wrong = str(error)
        return context.pages.page(request, "rule_check.html", visitor, wrong=wrong)

    @pages.post("/rules/save")
    def save(form: Annotated[Form, operator]) -> Response:
        text, base = form.text("text", LONGEST_RULE), _number(form.fields.get("base", ""))
        with context.database.reading() as connection:
            rule_book.check_base(connection, base)
            before = rule_book.edition(connection, base)
        return keep(
            form, rule_book.with_rule(before.rules, rule_book.parse_rule(text), form.fields.get("name", "")), base
        )

    @pages.post("/rules/import")
    def take(form: Annotated[Form, operator]) -> Response:
        text, base = form.text("text", LONGEST_FILE), _number(form.fields.get("base", ""))
        with context.database.reading() as connection:
            rule_book.check_base(connection, base)
        return keep(form, text, base)

    @pages.post("/rules/restore")
    def restore(form: Annotated[Form, operator]) -> Response:
        number, base = _number(form.fields.get("number", "")), _number(form.fields.get("base", ""))
        with context.database.reading() as connection:
            rule_book.check_base(connection, base)
            text = rule_book.edition(connection, number).text
        return keep(form, text, base)

    @pages.post("/rules/release")
    def release(form: Annotated[Form, operator]) -> Response:
        """Ask for a version of the categorizer with the newest rules, which then goes through its rollout."""
        why, number = form.why, _number(form.fields.get("number", ""))
        with context.database.reading() as connection:
            rule_book.check_base(connection, number)
        context.decisions.release_rules(form.person, number, why)
        return see("/console/rules/history")

    @pages.get("/rules/history")
    def history(request: Request, visitor: Annotated[Visitor, viewer], before: Number | None = None) -> HTMLResponse:
        with context.database.reading() as connection:
            rows = rule_book.history(connection, before, PAGE + 1)
            newest = rule_book.current(connection)
            asked = requested_trainings.of_rules(connection, rule_book.MODEL, newest.number, time.time())
        return context.pages.page(
            request, "rule_history.html", visitor, rows=rows[:PAGE], newest=newest, asked=asked,
            more=rows[PAGE - 1].number if len(rows) > PAGE else None,
        )  # fmt: skip

    @pages.get("/rules/export")
    def export(visitor: Annotated[Visitor, viewer], number: Number | None = None) -> Response:
        with context.database.reading() as connection:
            found = rule_book.current(connection) if number is None else rule_book.edition(connection, number)
        name = f"rules-{found.number}.yaml"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(found.text, media_type="application/yaml", headers=headers)

    return pages


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise RefusedError(422, "field", f"expected the number of a version, got {text[:20]!r}")
    return int(text)
