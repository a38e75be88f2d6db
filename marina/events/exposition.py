"""Prometheus' text format, version 0.0.4: a metric's family of lines."""

from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Row = tuple[Mapping[str, str], float]
"""A series' labels, and its value."""


def write_family(
    name: str, kind: str, about: str, rows: Iterable[Row], suffixes: Iterable[str] | None = None
) -> list[str]:
    """Write one metric.

    Parameters
    ----------
    kind
        ``counter``, ``gauge`` or ``histogram``.
    rows
        A series each; none at all is a metric of which nothing is known yet.
    suffixes
        Of each row's name, as histograms have them.

    Returns
    -------
    list of str
        Lines, each with its end.
    """
    rows = list(rows)
    lines = [f"# HELP {name} {about}\n", f"# TYPE {name} {kind}\n"]
    for (labels, value), suffix in zip(rows, suffixes or [""] * len(rows), strict=True):
        written = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        lines.append(f"{name}{suffix}{{{written}}} {value!r}\n")
    return lines


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
