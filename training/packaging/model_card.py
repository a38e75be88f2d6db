"""The model card of an archive: `model-card.md`, for anyone who is to rely on the model.

Its sections are those of Mitchell et al., 2019 (Model Cards for Model Reporting), each written from what the archive
itself says: contract, provenance, intended use and example. Equal releases give equal cards; there is no clock in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from archives.contract import Contract, Range, Tensor

LONGEST_LIST: Final = 3
"""Entries of an array in the example that are shown."""

LONGEST_TEXT: Final = 120
"""Characters of a text in the example that are shown."""

MOST_NAMED: Final = 40
"""Labels, features, fields of the example or groups that are shown one by one."""


@dataclass(frozen=True)
class IntendedUse:
    """What a model was made for, in a reader's words.

    Attributes
    ----------
    purpose
        What it is for, and for whom.
    not_for
        What it is not for, and what is known to go wrong there.
    """

    purpose: str
    not_for: str


def write_card(
    contract: Contract, provenance: Mapping[str, Any], use: IntendedUse, example: Mapping[str, Any]
) -> bytes:
    """Return the card, in Markdown.

    Parameters
    ----------
    contract
        What the model takes and gives.
    provenance
        As `training.packaging.provenance.provenance` returns it.
    use
        What it is for.
    example
        A request body that it answers.
    """
    sections = {
        "Model details": _details(contract, provenance),
        "Intended use": [use.purpose, "", f"**Not for:** {use.not_for}"],
        "Factors": _factors(contract),
        "Metrics": _metrics(provenance),
        "Evaluation and training data": _data(provenance),
        "Quantitative analyses: groups that it does worse for": _groups(provenance.get("slices")),
        "Caveats: what it takes, and what it decides by": _bounds(contract),
        "How to ask it": _asking(contract, example),
    }
    lines = [f"# Model card: {contract.model} {contract.version}"]
    for heading, body in sections.items():
        lines += ["", f"## {heading}", "", *body]
    return ("\n".join(lines) + "\n").encode()


def _details(contract: Contract, provenance: Mapping[str, Any]) -> list[str]:
    lines = [
        f"- task: {contract.task}, family {contract.family}",
        f"- code: git commit {_code(provenance['git_commit'])}",
        f"- MLflow run: {_code(provenance['mlflow_run'])}",
    ]
    if provenance["quick"]:
        lines.append("- **trained with --quick**: less was spent than the recipe says; for a look, not for users")
    return [*lines, "", "Parameters of the training:", "", *_table(("parameter", "value"), provenance["parameters"])]


def _factors(contract: Contract) -> list[str]:
    lines = [f"- in: {_tensor(one)}" for one in contract.inputs] + [
        f"- out: {_tensor(one)}" for one in contract.outputs
    ]
    for name, values in (("labels", contract.labels), ("features", contract.features)):
        if values:
            lines.append(f"- {len(values)} {name}: {_names(values)}")
    return lines


def _metrics(provenance: Mapping[str, Any]) -> list[str]:
    metrics: Mapping[str, float] = provenance["metrics"]
    whole = {name: f"{value:.4g}" for name, value in sorted(metrics.items()) if "." not in name}
    if not whole:
        return ["No figure was measured."]
    lines = ["Of the evaluated fit, which is not always the one that ships (below).", ""]
    lines += _table(("figure", "value"), whole)
    if parts := len(metrics) - len(whole):
        lines += ["", f"`provenance.json` has {parts} more, of single questions, kinds or days."]
    return lines


def _data(provenance: Mapping[str, Any]) -> list[str]:
    fits = provenance["fits"]
    both = (
        "The same recipe and settings were fitted again for what ships, on more than the figures were measured with; "
        "the figures are not of that very fit, and it has seen the data that they are of."
        if fits["refitted"]
        else "What ships is the fit that was evaluated."
    )
    return [
        f"- evaluated on: {_words(fits['evaluated'])}",
        f"- what ships was fitted to: {_words(fits['shipped'])}",
        f"- SHA-256 of the data's manifest: {_code(provenance['data_manifest_sha256'])}",
        "",
        both,
    ]


def _groups(slices: Mapping[str, Any] | None) -> list[str]:
    if slices is None:
        return ["Groups were not compared for this model."]
    lines = [
        f"On the whole {slices['right']:.3f} of the answers were right. Of {slices['compared']} groups of at least "
        f"{slices['least']} rows, these had fewer right, by more than a 95 % interval (about one group in forty does "
        "by chance alone):",
        "",
    ]
    worse = sorted(slices["worse"], key=lambda one: one["right"])
    if not worse and not slices["worse_people"]:
        return [*lines[:-1], "", "None."]
    if worse:
        lines += ["| by | group | rows | right | 95 % interval |", "|---|---|---|---|---|"]
        for one in worse[:MOST_NAMED]:
            numbers = f"{one['count']} | {one['right']:.3f} | {one['low']:.3f} to {one['high']:.3f}"
            lines.append(f"| {_words(one['by'])} | {_words(one['group'])} | {numbers} |")
        if len(worse) > MOST_NAMED:
            lines += ["", f"And {len(worse) - MOST_NAMED} more, in `provenance.json`."]
    if people := slices["worse_people"]:
        lines += ["", f"Besides, {people} single people, who are not named here; the training run's `slices.md` does."]
    return lines


def _bounds(contract: Contract) -> list[str]:
    lines: list[str] = []
    if contract.limits:
        lines += ["At most, in a request:", "", *_table(("of", "limit"), contract.limits), ""]
    if contract.thresholds:
        shown = {name: f"{value:.4g}" for name, value in contract.thresholds.items()}
        lines += ["Thresholds of decisions:", "", *_table(("threshold", "from"), shown), ""]
    names = sorted({*contract.possible, *contract.usual})
    if names:
        lines += [
            "Beyond what is possible a request is refused; beyond what is usual it is answered with a warning.",
            "",
        ]
        lines += ["| quantity | possible | usual |", "|---|---|---|"]
        for name in names:
            lines.append(
                f"| {_words(name)} | {_range(contract.possible.get(name))} | {_range(contract.usual.get(name))} |"
            )
    return lines or ["The contract states no limits, thresholds or ranges."]


def _asking(contract: Contract, example: Mapping[str, Any]) -> list[str]:
    body = json.dumps(_shortened(example), ensure_ascii=False, indent=2)
    return [
        f"`POST /predictions/{contract.model}` with `Content-Type: application/json` and a body such as this one, "
        "which is shortened; `example.json` is a whole one.",
        "",
        "```json",
        *map(_printable, body.split("\n")),
        "```",
    ]


def _shortened(value: Any) -> Any:
    """Return a JSON value with the beginnings of its long arrays and texts, and what was left out said."""
    if isinstance(value, Mapping):
        kept = {name: _shortened(one) for name, one in list(value.items())[:MOST_NAMED]}
        return kept | ({"…": f"{len(value) - MOST_NAMED} more"} if len(value) > MOST_NAMED else {})
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]}…"
    if isinstance(value, Sequence):
        first = [_shortened(one) for one in value[:LONGEST_LIST]]
        return [*first, f"… {len(value) - LONGEST_LIST} more"] if len(value) > LONGEST_LIST else first
    return value


def _tensor(one: Tensor) -> str:
    said = f"`{one.name}` {one.dtype} [{', '.join(map(str, one.shape))}]"
    return said + "".join(f"; {_words(text)}" for text in (one.unit, one.missing) if text)


def _names(values: Sequence[str]) -> str:
    more = f" and {len(values) - MOST_NAMED} more, in `contract.json`" if len(values) > MOST_NAMED else ""
    return ", ".join(map(_code, values[:MOST_NAMED])) + more


def _range(found: Range | None) -> str:
    if found is None or found == (None, None):
        return ""
    low, high = found
    if low is None or high is None:
        return f"at most {high:.4g}" if low is None else f"at least {low:.4g}"
    return f"{low:.4g} to {high:.4g}"


def _table(heading: tuple[str, str], rows: Mapping[str, Any]) -> Iterable[str]:
    yield f"| {heading[0]} | {heading[1]} |"
    yield "|---|---|"
    for name, value in rows.items():
        yield f"| {_words(name)} | {_words(value)} |"


def _code(text: str) -> str:
    return f"`{_printable(text).replace('`', chr(39))}`"


def _words(value: object) -> str:
    """Return words of others as they are: in one line, and no Markdown or HTML."""
    text = _printable(" ".join(str(value).split()))
    return "".join(f"\\{one}" if one in "\\|`*<>[]" else one for one in text)


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
