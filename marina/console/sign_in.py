"""Signing in and out, and how pages look: neither is a decision, so neither is in the ledger."""

import time
from typing import Annotated
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from marina.console import people
from marina.console.access import Form, address_of, check_origin, read_fields
from marina.console.context import Context
from marina.console.rendering import LANGUAGES, THEMES, language, local, see, translate
from marina.console.sessions import COOKIE, PATH

YEAR_S = 365 * 86_400
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path fill="#3b82c4" d="M1 10 8 2v8z"/>'
    '<path fill="#d9822b" d="M9 4l5 6H9z"/><path fill="#808890" d="M1 12h14l-2 3H3z"/></svg>'
)


def router(context: Context) -> APIRouter:
    """Return the pages."""
    pages = APIRouter(prefix="/console", include_in_schema=False)

    def is_secure(request: Request) -> bool:
        return context.settings.tls_certificate is not None or request.headers.get("x-forwarded-proto") == "https"

    @pages.get("/sign-in")
    def show(request: Request, next: str = PATH) -> HTMLResponse:
        return context.pages.page(request, "sign_in.html", None, onward=local(next), wrong="")

    @pages.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        check_origin(request)
        fields = await read_fields(request)
        onward = local(unquote(fields.get("next", PATH)))
        token = fields.get("token", "").strip()
        person = await run_in_threadpool(context.access.person_of, token, address_of(request))
        if person is None:
            wrong = translate(language(request), "This is no one's token.")
            return context.pages.page(request, "sign_in.html", None, 401, onward=onward, wrong=wrong)
        answer = see(onward)
        answer.set_cookie(
            COOKIE, context.access.sessions.begin(person.name), path=PATH, httponly=True, samesite="strict",
            secure=is_secure(request), max_age=int(context.access.sessions.lasts_s),
        )  # fmt: skip
        return answer

    @pages.post("/sign-out")
    def sign_out(form: Annotated[Form, Depends(context.access.form("viewer"))]) -> Response:
        people.sign_out(context.database, form.person.name, time.time())
        answer = see(f"{PATH}/sign-in")
        answer.delete_cookie(COOKIE, path=PATH)
        return answer

    @pages.get("/look")
    def look(request: Request, lang: str = "", theme: str = "", next: str = PATH) -> Response:
        answer = RedirectResponse(local(next), 303)
        for name, value, known in (("marina_lang", lang, LANGUAGES), ("marina_theme", theme, THEMES)):
            if value in known:
                answer.set_cookie(
                    name, value, path=PATH, httponly=True, samesite="strict", secure=is_secure(request), max_age=YEAR_S
                )
        return answer

    @pages.get("/icon.svg")
    def icon() -> Response:
        return Response(ICON, media_type="image/svg+xml")

    return pages
