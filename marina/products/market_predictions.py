"""What the product says of the market: the model's answer, by the settings in force."""

import time
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool

from marina.products.context import Context
from marina.products.errors import ProductError
from marina.products.market_config import MODEL, MarketSettings
from marina.products.market_rows import Window, add_alerts, current_window
from marina.products.market_stream import event
from marina.products.model_server import Answer, Call


async def current(context: Context) -> Window:
    """Return the current window.

    Raises
    ------
    ProductError
        With status 404, when none was posted yet.
    """
    window = await run_in_threadpool(current_window, context.database)
    if window is None:
        message = "No window of prices is there yet. Post one to /api/ml/features/window."
        raise ProductError(404, "no_window", message)
    return window


async def ask(context: Context, call: Call, window: Mapping[str, Any]) -> Answer:
    """Return the model's answer to a window's body: predictions, what each feature adds to them, and the phase.

    All that is said of a window comes from this one answer, so that the model is asked once.
    """
    return await context.server.ask(call, MODEL, window, "explanations")


def phrase_all(answer: Answer, settings: MarketSettings) -> list[dict[str, Any]]:
    """Return the model's sixteen answers as the product has them."""
    return [phrase(one, answer.version, settings, phase_of(answer)) for one in answer.body["predictions"]]


def phase_of(answer: Answer) -> str:
    """Return the phase of the market: the regime that holds now."""
    return str(answer.body["explanations"]["regime"])


def phrase(answered: Mapping[str, Any], version: str, settings: MarketSettings, phase: str) -> dict[str, Any]:
    """Return one of the model's sixteen answers as the product has it.

    `gated_by` says why it is no alert, where the settings keep it from being one.
    """
    kind, probability = str(answered["alert_type"]), float(answered["probability"])
    bounds = settings.prediction_thresholds.get(kind)  # type: ignore[call-overload]
    severity = None
    if bounds is not None and not answered["already"]:
        severity = "S3" if probability >= bounds.S3 else "S2" if probability >= bounds.S2 else None
    gates = {
        "disabled": not (settings.enabled and settings.alert_types.get(kind, True)),  # type: ignore[call-overload]
        "min_probability": probability < settings.min_probability,
        "phase": kind not in settings.phase_gating.get(phase, [kind]),  # type: ignore[call-overload]
    }
    gated_by = next((name for name, holds in gates.items() if holds), None)
    worth = bool(answered["alert"]) or severity is not None
    return {
        "alert_type": kind,
        "probability": probability,
        "confidence": answered["confidence"],
        "horizon": f"{answered['horizon_h']}h",
        "target_time": answered["target_time"],
        "severity_estimate": severity,
        "expected_reading": answered["severity_estimate"],
        "reading": answered["reading"],
        "already": answered["already"],
        "alert": worth and gated_by is None,
        "gated_by": gated_by if worth else None,
        "suggested_action": settings.suggested_actions.get(kind),  # type: ignore[call-overload]
        "model_version": version,
        "assets_affected": answered["assets_affected"],
    }


async def publish(
    context: Context, window: Window, answer: Answer
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Send what is an alert by the answer to a window, and may be sent by its type's pace, to anyone who listens.

    Returns
    -------
    predictions, alerts
        All sixteen answers; and the alerts that were sent, the most severe of each type.
    """
    settings, phase = await run_in_threadpool(context.market.read), phase_of(answer)
    predictions = phrase_all(answer, settings)
    best: dict[str, dict[str, Any]] = {}
    for one in predictions:
        if one["alert"]:
            kept = best.setdefault(one["alert_type"], one)
            if (one["severity_estimate"] or "", one["probability"]) > (
                kept["severity_estimate"] or "",
                kept["probability"],
            ):
                best[one["alert_type"]] = one
    pace = 60 * settings.min_interval_min, settings.max_per_day
    async with context.stream.turn:
        now = time.time()
        alerts = [{**one, "phase": phase, "window": window.id} for one in best.values()]
        sent = await run_in_threadpool(add_alerts, context.database, alerts, *pace, now) if alerts else []
        context.feed.publish(sent)
        summary = {"window": window.id, "phase": phase, "model_version": answer.version, "predictions": predictions}
        context.stream.publish(event("predictions", now, f"window-{window.id}", summary))  # comes after any hash
    return predictions, sent
