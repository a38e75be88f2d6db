"""What a shadow has shown: agreement, disagreements, confidence, time and, where labels came, accuracy; and a verdict.

Intervals hold at all looks together (marina/rollout/judge/intervals.py), and so does the verdict: it is the judge's,
from its gates of errors and of accuracy. A shadow's latency is not judged, since it works at idle priority.
"""

import datetime
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marina.processes.report_page import (
    CHANGED,
    INK,
    STABLE,
    axes_style,
    heading,
    page,
    paragraph,
    picture,
    table,
    tiles,
    verdict,
)
from marina.rollout import interim_looks
from marina.rollout.judge.decision import Finding, decide
from marina.rollout.judge.evidence import Arm, Evidence, Pairs
from marina.rollout.judge.intervals import apart, interval, mcnemar
from marina.rollout.policy.schema import Policy
from marina.rollout.shadow.pairs import Answers, Numbers

MOST_SHOWN = 20
REFUSED = (400, 413, 415, 422)

Slices = Mapping[str, Mapping[str, NDArray[np.bool_]]]
"""By field, then by value: which pairs."""


@dataclass(frozen=True)
class Conclusion:
    """What it comes to: good, bad, or (None) open, in a sentence."""

    good: bool | None
    sentence: str


def conclude(answers: Answers, policy: Policy) -> Conclusion:
    """Judge a shadow by the policy its canary would be judged by."""
    findings = {one.gate: one for one in decide(_evidence(answers), policy).findings}
    judged = [findings["errors"], findings["accuracy"]]
    harmed = [_seen(one, answers, policy) for one in judged if one.outcome == "harm"]
    if harmed:
        return Conclusion(False, f"Not fit for a canary: {'; '.join(harmed)}.")
    waiting = [one for one in judged if one.outcome == "open" and getattr(policy.gates, one.gate).required]
    fine = [_seen(one, answers, policy) for one in judged if one.outcome == "fine"]
    if waiting or not fine:
        waiting = waiting or judged
        words = [f"the {one.gate} gate needs {_needed(one)}" for one in waiting]
        return Conclusion(None, f"Too early to say: {'; '.join(words)}.")
    unknown = "" if findings["accuracy"].outcome == "fine" else " Whether it is as often right is not shown yet."
    return Conclusion(True, f"Fit for a canary: {'; '.join(fine)}.{unknown}")


def summary(answers: Answers, by_field: Slices, policy: Policy) -> str:
    """Return the report in a few lines of text."""
    lines = [_title(answers), _under(answers), "", conclude(answers, policy).sentence, ""]
    lines += [f"{name:12} {value}  ({word})" for name, value, word in _facts(answers)]
    if disagreements := _disagreements(answers):
        lines += ["", "most frequent disagreements"]
        lines += [f"  {count:>8}  {stable} -> {shadow}  ({right})" for stable, shadow, count, _, right in disagreements]
    for field, parts in by_field.items():
        lines += ["", f"agreement by {field}"]
        lines += [f"  {row[0]:24} {row[2]:>8} ({row[3]}) of {row[1]}" for row in _by_slice(answers, parts)]
    return "\n".join(lines)


def report(answers: Answers, by_field: Slices, policy: Policy) -> str:
    """Return the report as a page."""
    found = conclude(answers, policy)
    parts = [verdict(found.sentence, found.good), tiles(_facts(answers))]
    if disagreements := _disagreements(answers):
        parts += [
            heading("Where they disagree"),
            table(
                ["stable answered", "shadow answered", "answers", "of all", "by the labels that came"], disagreements
            ),
        ]
    for field, divided in by_field.items():
        head = [field, "answers", "agree", "95 % interval", "labelled", "stable right", "shadow right"]
        parts += [heading(f"By {field}")]
        parts += [table(head, _by_slice(answers, divided))] if divided else [paragraph("No kept input has this field.")]
    parts += _pictures(answers)
    statuses = Counter(answers.status[answers.failed].tolist())
    if statuses:
        rows = [[str(status), f"{count:,}", _cause(status)] for status, count in statuses.most_common()]
        parts += [heading("What the shadow failed on"), table(["status", "answers", ""], rows)]
    parts += [
        heading("How to read this"),
        paragraph(
            "Both versions answered the same logged requests, the shadow later and unseen. Intervals are confidence "
            "sequences: they hold however often the report is made. The verdict is that of the canary's own gates of "
            "errors and of accuracy, the latter from pairs with a label. A shadow works at idle priority, one request "
            "or a few at a time: its times show gross differences only, and are not judged."
        ),
    ]
    return page(_title(answers), _under(answers), parts)


def _title(answers: Answers) -> str:
    return f"{answers.model}: {answers.shadow} in the shadow of {answers.stable}"


def _under(answers: Answers) -> str:
    first, last = (datetime.datetime.fromtimestamp(at, datetime.UTC) for at in (answers.time[0], answers.time[-1]))
    words = f"{len(answers):,} answers to requests from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"
    return words + (f"; {answers.unanswered:,} requests were left out" if answers.unanswered else "")


def _facts(answers: Answers) -> list[tuple[str, str, str]]:
    labelled, failed = int(answers.labelled.sum()), int(answers.failed.sum())
    facts = []
    if labelled:
        agree = int(answers.agree.sum())
        facts.append(("agreement", f"{agree / labelled:.2%}", f"{_range(agree, labelled)} of {labelled:,}"))
    values = np.isfinite(answers.stable_value) & np.isfinite(answers.shadow_value)
    if values.any():
        moved = (answers.shadow_value - answers.stable_value)[values]
        facts.append(("value shift", f"{moved.mean():+.4g}", f"mean; absolute {np.abs(moved).mean():.4g}"))
    facts.append(("failures", f"{failed / len(answers):.2%}", f"{_range(failed, len(answers))}; stable answered all"))
    sure = np.isfinite(answers.stable_confidence) & np.isfinite(answers.shadow_confidence)
    if sure.any():
        stable, shadow = answers.stable_confidence[sure], answers.shadow_confidence[sure]
        distance = f"{stable.mean():.3f} to {shadow.mean():.3f}; KS distance {apart(stable, shadow):.3f}"
        facts.append(("confidence", f"{(shadow - stable).mean():+.3f}", distance))
    timed = np.isfinite(answers.stable_ms) & np.isfinite(answers.shadow_ms)
    if timed.any():
        stable, shadow = answers.stable_ms[timed], answers.shadow_ms[timed]
        p95 = f"p95 {np.quantile(stable, 0.95):.2f} to {np.quantile(shadow, 0.95):.2f} ms; at idle priority"
        facts.append(("time", f"{np.median(shadow - stable):+.2f} ms", p95))
    judged, stable_right, shadow_right = (int(one.sum()) for one in answers.right)
    if judged:
        pairs = answers.pairs
        words = (
            f"{stable_right / judged:.2%} to {shadow_right / judged:.2%} of {judged:,} labelled; {pairs.worse} lost, "
        )
        words += f"{pairs.better} gained, McNemar p {mcnemar(pairs.worse, pairs.better):.2g}"
        facts.append(("accuracy", f"{100 * (shadow_right - stable_right) / judged:+.2f} points", words))
    return facts


def _disagreements(answers: Answers) -> list[list[str]]:
    """Return stable's label, the shadow's, how often, its share, and who was right."""
    apart_here = answers.labelled & ~answers.agree
    judged, stable_right, shadow_right = answers.right
    rows = []
    counted = Counter(zip(answers.stable_label[apart_here], answers.shadow_label[apart_here], strict=True))
    for (stable, shadow), count in counted.most_common(MOST_SHOWN):
        here = apart_here & (answers.stable_label == stable) & (answers.shadow_label == shadow)
        known, won, lost = (int((here & one).sum()) for one in (judged, shadow_right, stable_right))
        words = f"shadow right {won}, stable right {lost}, of {known}" if known else "no label yet"
        rows.append([stable, shadow, f"{count:,}", f"{count / int(answers.labelled.sum()):.2%}", words])
    return rows


def _by_slice(answers: Answers, parts: Mapping[str, NDArray[np.bool_]]) -> list[list[str]]:
    rows = []
    judged, stable_right, shadow_right = answers.right
    for name, here in parts.items():
        both, agree = int((here & answers.labelled).sum()), int((here & answers.agree).sum())
        known, stable, shadow = (int((here & one).sum()) for one in (judged, stable_right, shadow_right))
        row = [name, f"{both:,}", f"{agree / both:.2%}" if both else "-", _range(agree, both) if both else "-"]
        rows.append([*row, f"{known:,}", *(f"{one / known:.2%}" if known else "-" for one in (stable, shadow))])
    return rows


def _pictures(answers: Answers) -> list[str]:
    given = answers
    parts = []
    for name, unit, stable, shadow in (
        ("Confidence", "probability of the first label", given.stable_confidence, given.shadow_confidence),
        ("Values", "value", given.stable_value, given.shadow_value),
        ("Time in the handler", "milliseconds", given.stable_ms, given.shadow_ms),
    ):
        both = np.isfinite(stable) & np.isfinite(shadow)
        if both.any():
            parts += [heading(name), _histograms(name.split()[0].lower(), unit, stable[both], shadow[both])]
    return parts


def _histograms(name: str, unit: str, stable: Numbers, shadow: Numbers) -> str:
    """Draw how both are distributed, and what changed from one to the other; the rarest ends are cut."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    change = shadow - stable
    with mpl.rc_context(axes_style()):
        figure = Figure(figsize=(9, 2.8), layout="constrained")
        spread, moved = figure.subplots(1, 2)
        low, high = np.quantile(np.concatenate([stable, shadow]), [0.005, 0.995])
        edges = np.linspace(low, high if high > low else low + 1, 41)
        for values, called, colour in ((stable, "stable", STABLE), (shadow, "shadow", CHANGED)):
            spread.hist(values, edges, histtype="stepfilled", color=colour, alpha=0.25)
            spread.hist(values, edges, histtype="step", color=colour, linewidth=1.5, label=called)
        spread.set(xlabel=unit, ylabel="answers")
        spread.legend()
        moved.hist(np.clip(change, *np.quantile(change, [0.005, 0.995])), 41, color=CHANGED, alpha=0.6)
        moved.axvline(0, color=INK, linewidth=1)
        moved.set(xlabel=f"change, shadow less stable (mean {change.mean():+.3g})")
        return picture(figure, name)


def _range(part: int, whole: int) -> str:
    low, high = interval(part, whole)
    return f"{low:.2%} to {high:.2%}"


def _evidence(answers: Answers) -> Evidence:
    """Return what the judge goes by; it looks at clients as they were when their number of pairs last called for it."""
    judged, stable, shadow = (one.tolist() for one in answers.right)
    of_clients = [place for place, client in enumerate(answers.clients) if client is not None and judged[place]]
    lost = {place: stable[place] - shadow[place] for place in of_clients}
    number = interim_looks.number(len(of_clients), 0.5)
    by_client: dict[int | None, list[int]] = {}
    for place in of_clients[: interim_looks.due_at(number, 0.5)]:
        by_client.setdefault(answers.clients[place], []).append(lost[place])
    look = interim_looks.by_pairs(
        number, [interim_looks.Paired(one.count(1), one.count(-1), len(one), 1) for one in by_client.values()]
    )
    nets = list(lost.values())
    wrong = sum(not (stable[place] or shadow[place]) for place in of_clients)
    return Evidence(
        canary=Arm(requests=len(answers), errors=int(answers.failed.sum())),
        pairs=answers.pairs,
        pairs_of_clients=Pairs(nets.count(1), nets.count(0), nets.count(-1), wrong),
        looks={"pairs": look} if number >= 0 else {},
    )


def _needed(finding: Finding) -> str:
    return finding.missing or f"{f'about {finding.needs:,}' if finding.needs else 'some'} more answers"


def _seen(finding: Finding, answers: Answers, policy: Policy) -> str:
    if finding.gate == "errors":
        return f"it failed on {int(answers.failed.sum()):,} of {len(answers):,} requests that stable answered"
    pairs = answers.pairs
    judged = pairs.worse + pairs.same + pairs.better
    words = f"of {judged:,} labelled answers it lost {pairs.worse:,} that stable had right, and gained {pairs.better:,}"
    points, allowed = 100 * (pairs.better - pairs.worse) / judged, 100 * policy.gates.accuracy.accept
    return f"{words} ({points:+.2f} points; {allowed:g} may not be lost)"


def _cause(status: int) -> str:
    if status in REFUSED:
        return "it refuses what stable takes; an input whose fields were redacted may be why (MARINA_LOG_REDACT)"
    return "no answer in time" if status == 504 else "it failed"
