"""How pages are written: templates with everything escaped, in one of two languages, and plots as SVG."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from fastapi import Request
from starlette.responses import HTMLResponse, Response

from marina.console import plots
from marina.console.access import Access, Visitor
from marina.console.french import FRENCH
from marina.rollout.explain import clock, shares

HERE = Path(__file__).parent
THEMES = ("auto", "light", "dark")
LANGUAGES = ("en", "fr")
TINY = 1e-9
HTMX, SSE = "htmx-2.0.11.min.js", "htmx-ext-sse-2.2.4.min.js"


class Pages:
    """Writes pages for those who asked."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._source = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._source.filters |= {
            "clock": clock, "shares": shares, "percent": percent, "ago": ago, "short": short, "number": number,
        }  # fmt: skip
        self._source.globals |= {"plots": plots, "htmx": HTMX, "sse": SSE}

    def page(
        self, request: Request, name: str, visitor: Visitor | None, status: int = 200, /, **values: Any
    ) -> HTMLResponse:
        """Return a page, or a part of one, from a template."""
        return HTMLResponse(self.text(request, name, visitor, **values), status)

    def text(self, request: Request, name: str, visitor: Visitor | None, /, **values: Any) -> str:
        """Return what a template says."""
        lang = language(request)

        def form_token(address: str) -> str:
            return "" if visitor is None else self._access.sessions.form_token(visitor.session, address)

        theme = request.cookies.get("marina_theme", "")
        shown: Mapping[str, Any] = {
            "t": functools.partial(translate, lang),
            "lang": lang,
            "theme": theme if theme in THEMES else THEMES[0],
            "here": local(request.url.path + (f"?{request.url.query}" if request.url.query else "")),
            "person": None if visitor is None else visitor.person,
            "form_token": form_token,
        }
        return self._source.get_template(name).render({**shown, **values})


def language(request: Request) -> str:
    """Return the language that was chosen, else the first that the browser names and we have."""
    chosen = request.cookies.get("marina_lang", "")
    if chosen in LANGUAGES:
        return chosen
    named = re.findall(r"(?:\A|,)\s*([a-zA-Z]{2})", request.headers.get("accept-language", "")[:200])
    return next((one.lower() for one in named if one.lower() in LANGUAGES), LANGUAGES[0])


def translate(lang: str, text: str, **values: object) -> str:
    """Return a text in a language; one that is not in the dictionary stays English."""
    found = FRENCH.get(text, text) if lang == "fr" else text
    return found.format(**values) if values else found


def local(address: str) -> str:
    """Return an address of the console as it is, and its first page for any other."""
    return (
        address
        if re.fullmatch(r"/console(/[A-Za-z0-9._~/%+:@-]*)?(\?[A-Za-z0-9._~/%+:@&=-]*)?", address)
        else "/console"
    )


def see(address: str) -> Response:
    """Return an answer that leads to a page of the console, after a form."""
    return Response(status_code=303, headers={"location": local(address)})


def percent(share: float | None) -> str:
    """Write a share."""
    return "-" if share is None else f"{100 * share:.4g} %"


def short(text: str, most: int = 120) -> str:
    """Write a text, cut where it is long."""
    return text if len(text) <= most else text[: most - 1] + "…"


def number(value: float | None, unit: str = "") -> str:
    """Write a number with its unit."""
    value = 0.0 if value is not None and abs(value) < TINY else value
    return "-" if value is None else f"{value:,.4g}".replace(",", "\u202f") + (f" {unit}" if unit else "")


def ago(seconds: float, now: float) -> str:
    """Write how long ago a time was."""
    past = max(0, int(now - seconds))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if past >= length:
            return f"{past // length} {unit}"
    return f"{past} s"
