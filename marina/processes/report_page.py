"""A page of a report: one HTML file with everything in it, for light and dark screens and for print."""

import errno
import html
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archives.errors import MarinaError
from marina.processes.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STABLE, CHANGED, INK = "#3b82c4", "#d9822b", "#808890"
"""Colours that are distinguished, and read, on white as on black."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --soft: #5d6873; --line: #d8dde2; --paper: #ffffff; --panel: #f5f7f9;
  --good: #2f855a; --bad: #c53030; --open: #b7791f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #9aa5b1; --line: #333b44; --paper: #14181d;
  --panel: #1c2229; --good: #68d391; --bad: #fc8181; --open: #f6c667; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p { margin: .5rem 0; } .soft { color: var(--soft); font-size: .9rem; }
.verdict { border-left: .3rem solid var(--open); background: var(--panel); padding: .8rem 1rem; margin: 1.25rem 0; }
.verdict.good { border-color: var(--good); } .verdict.bad { border-color: var(--bad); }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; }
.tile { flex: 1 1 11rem; background: var(--panel); padding: .7rem .9rem; border-radius: .4rem; }
.tile b { display: block; font-size: 1.35rem; font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .75rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.words { text-align: left; }
svg { max-width: 100%; height: auto; }
"""


class PageError(MarinaError):
    """A page cannot be written; the message says where."""


def write(path: Path, content: str | bytes) -> None:
    """Write a page, or a picture, to the file that a command line names.

    Raises
    ------
    PageError
        When that cannot be done; what was there stays.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        write_atomically(path, content)
    except OSError as error:
        raise PageError(
            f"cannot write --out {path}: {error.strerror}. Name a file in a folder that is there, can be written, and "
            "has space"
        ) from error


def page(title: str, under: str, parts: Sequence[str]) -> str:
    """Return the whole file; `parts` are HTML, `title` and the line under it are text."""
    head = (
        f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{html.escape(title)}</title>"
    )
    body = "\n".join([f"<h1>{html.escape(title)}</h1>", paragraph(under), *parts])
    return (
        f"<!doctype html>\n<html lang='en'><head>{head}<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def heading(text: str) -> str:
    """Return a heading."""
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text: str) -> str:
    """Return a line of explanation."""
    return f"<p class='soft'>{html.escape(text)}</p>"


def verdict(text: str, good: bool | None) -> str:
    """Return what it comes to: good, bad, or (None) open."""
    kind = {True: "good", False: "bad", None: "open"}[good]
    return f"<div class='verdict {kind}'>{html.escape(text)}</div>"


def tiles(facts: Sequence[tuple[str, str, str]]) -> str:
    """Return figures that stand out: each with its name and a word on it."""
    cells = [
        f"<div class='tile'><span class='soft'>{html.escape(name)}</span><b>{html.escape(value)}</b>"
        f"<span class='soft'>{html.escape(word)}</span></div>"
        for name, value, word in facts
    ]
    return f"<div class='tiles'>{''.join(cells)}</div>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is what the others are about."""
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<div class='wide'><table><tr>{top}</tr>{''.join(lines)}</table></div>"


def picture(figure: "Figure", name: str) -> str:
    """Return a figure as SVG that is in the page; `name` keeps its parts apart from other pictures'."""
    import matplotlib as mpl

    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()[file.getvalue().index("<svg") :]
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)


def axes_style() -> dict[str, object]:
    """Return matplotlib's settings for pictures of a page."""
    grey = ("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "text.color", "legend.labelcolor")
    plain: dict[str, object] = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    return plain | dict.fromkeys(grey, INK) | {"font.size": 9, "font.family": "sans-serif"}
