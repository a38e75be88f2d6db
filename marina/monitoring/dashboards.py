"""Grafana's dashboards, as plain JSON: one per family of models, one each for releases, drift and the system.

    python -m marina.monitoring.dashboards          # writes deploy/grafana/*.json, alike each time

They follow Grafana's dashboard schema, version 39 (Grafana 11); a test holds them against Grafana's own types.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from marina.settings import ROOT

FOLDER = ROOT / "deploy" / "grafana"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT = 12, 8

FAMILIES: Mapping[str, str] = {
    "signflow": "signflow",
    "budget": "budget_(categorizer|anomaly|forecast)",
    "catalog": "catalog",
    "market": "market_alerts",
    "code_health": "code_(risk|anomaly|bugs|impact|meta)",
}
"""Each family's models, as a regular expression."""


@dataclass(frozen=True)
class Panel:
    """One graph.

    Attributes
    ----------
    queries
        Pairs of an expression of PromQL and the name of its lines.
    unit
        Grafana's word for it.
    """

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: Literal["timeseries", "heatmap", "stat", "table"] = "timeseries"


def dashboards() -> dict[str, dict[str, Any]]:
    """Return every dashboard, by the name of its file."""
    made = {family: _dashboard(family, f"Marina: {family}", _family(family, of)) for family, of in FAMILIES.items()}
    made["releases"] = _dashboard("releases", "Marina: releases", RELEASES)
    made["drift"] = _dashboard("drift", "Marina: drift and quality", DRIFT)
    made["system"] = _dashboard("system", "Marina: system", SYSTEM)
    return made


def _family(family: str, models: str) -> list[Panel]:
    of = f'{{model=~"{models}"}}'
    line = "{{model}} {{version}}"
    panels = [
        Panel("Throughput", [(f"sum by (model, version) (rate(marina_requests_total{of}[5m]))", line)], "reqps"),
        Panel(
            "Latency",
            [(f"sum by (le) (increase(marina_request_seconds_bucket{of}[$__rate_interval]))", "{{le}}")],
            "s",
            "heatmap",
        ),
        Panel(
            "Latency, 95th percentile",
            [(
                f"histogram_quantile(0.95, sum by (model, le) (rate(marina_request_seconds_bucket{of}[5m])))",
                "{{model}}",
            )],
            "s",
        ),
        Panel(
            "Failures",
            [(
                f"sum by (model, version) (rate(marina_errors_total{of}[5m])) / "
                f"sum by (model, version) (rate(marina_requests_total{of}[5m]))",
                line,
            )],
            "percentunit",
        ),
        Panel("Accuracy, an hour's", [
            (f"marina:accuracy:ratio1h{of}", line), (f"marina:accuracy:upper1h{of}", line + ", upper bound")
        ], "percentunit"),
        Panel("Error budget left", [(f"slo:period_error_budget_remaining:ratio{of}", "{{model}}")], "percentunit"),
        Panel("Answers that say the same", [(f"marina_identical_answers_ratio{of}", line)], "percentunit"),
        Panel("Zero features", [(f"marina_zero_features_ratio{of}", line)], "percentunit"),
        Panel("Label lag", [(f"marina_label_lag_seconds{of}", line)], "s"),
    ]  # fmt: skip
    if family == "signflow":
        panels += [
            Panel("Confidence by sign", [("signflow_prediction_confidence", "{{sign}}")], "percentunit"),
            Panel("Signs", [("sum by (sign) (rate(signflow_inference_total[5m]))", "{{sign}}")], "reqps"),
            Panel(
                "SignFlow's latency",
                [("sum by (le) (increase(signflow_inference_latency_seconds_bucket[$__rate_interval]))", "{{le}}")],
                "s",
                "heatmap",
            ),
        ]
    if family == "market":
        panels += [
            Panel("Predictions", [(
                "sum by (alert_type, horizon, severity) (rate(crypto_rebal_ml_predictions_total[1h]))",
                "{{alert_type}} {{horizon}} h {{severity}}",
            )], "reqps"),
            Panel("Quality", [("crypto_rebal_ml_model_performance", "{{model_version}} {{metric}}")], "percentunit"),
            Panel("Feature quality", [("crypto_rebal_ml_feature_quality", "{{feature_name}}")], "percentunit"),
            Panel("A/B tests", [("crypto_rebal_ml_ab_tests_active", "open")], kind="stat"),
            Panel("Their hours", [("crypto_rebal_ml_ab_test_duration_hours", "{{test_id}}")], "h"),
        ]  # fmt: skip
    return panels


RELEASES = [
    Panel("Open rollouts", [("marina_rollout_phase", "{{model}} {{stable}} to {{canary}}: {{phase}}")], kind="table"),
    Panel("Step", [("marina_rollout_step", "{{model}} {{canary}}")]),
    Panel("Evidence of harm, of what is needed", [(
        'marina_rollout_log_evidence{of="harm"} / marina_rollout_log_evidence_needed{of="harm"}',
        "{{model}} {{canary}} {{gate}}",
    )], "percentunit"),
    Panel("Evidence of none, of what is needed", [(
        'marina_rollout_log_evidence{of="fine"} / marina_rollout_log_evidence_needed{of="fine"}',
        "{{model}} {{canary}} {{gate}}",
    )], "percentunit"),
    Panel("Shadows that answer otherwise", [
        ("marina_shadow_disagreement_ratio", "{{model}} {{shadow}}: {{bound}}")
    ], "percentunit"),
    Panel("Age", [("marina_rollout_age_seconds", "{{model}} {{canary}}")], "s"),
    Panel("Servers by state", [("sum by (model, state) (marina_version_servers)", "{{model}} {{state}}")]),
    Panel("Refused", [("marina_version_refused", "{{model}} {{version}}: {{cause}}")], kind="table"),
    Panel("Ledger", [("marina_ledger_rows", "rows")], kind="stat"),
]  # fmt: skip

DRIFT = [
    Panel("Evidence, of what is needed", [
        ("marina_drift_log_evidence / marina_drift_log_evidence_needed", "{{model}} {{version}}")
    ], "percentunit"),
    Panel("Open alerts", [("marina_alerts_open", "{{of}}: {{level}}")]),
    Panel("Not acknowledged", [("marina_detector_alerts_unseen", "{{model}} {{version}} {{level}}")], kind="table"),
    Panel("Answers that say the same", [("marina_identical_answers_ratio", "{{model}} {{version}}")], "percentunit"),
    Panel("Zero features", [("marina_zero_features_ratio", "{{model}} {{version}}")], "percentunit"),
    Panel("Accuracy, an hour's", [("marina:accuracy:ratio1h", "{{model}} {{version}}")], "percentunit"),
    Panel("Labels", [("sum by (outcome) (rate(marina_feedback_labels_total[5m]))", "{{outcome}}")], "ops"),
    Panel("Unusual inputs", [("sum by (model) (rate(marina_input_warnings_total[5m]))", "{{model}}")], "ops"),
]  # fmt: skip

SYSTEM = [
    Panel("Up", [("up", "{{job}}")]),
    Panel("Processor", [("sum by (part) (rate(marina_process_cpu_seconds_total[5m]))", "{{part}}")]),
    Panel("Memory", [("marina_process_resident_bytes", "{{part}}")], "bytes"),
    Panel("Open files", [("marina_process_open_files", "{{part}}")]),
    Panel("Disk", [("marina_state_disk_bytes", "{{of}}")], "bytes"),
    Panel("Spool", [
        ("marina_spool_bytes", "spool"), ("marina_spool_limit_bytes", "limit"),
        ("marina_collector_unread_bytes", "not taken over"),
    ], "bytes"),
    Panel("Not logged", [("rate(marina_log_dropped_total[5m])", "{{replica}}")], "ops"),
    Panel("GPU: utilisation", [("marina_gpu_utilisation_ratio", "{{gpu}}")], "percentunit"),
    Panel("GPU: memory", [("marina_gpu_memory_used_bytes / marina_gpu_memory_bytes", "{{gpu}}")], "percentunit"),
    Panel("GPU: temperature", [("marina_gpu_temperature_celsius", "{{gpu}}")], "celsius"),
    Panel("GPU: power", [("marina_gpu_power_watts", "{{gpu}}")], "watt"),
    Panel("GPU: clock", [("marina_gpu_clock_mhz * 1e6", "{{gpu}}")], "hertz"),
    Panel("GPU: faults", [("increase(marina_gpu_xid_total[1h])", "{{gpu}}: Xid {{xid}}")]),
    Panel("Certificate ends in", [("marina_tls_certificate_end_seconds - time()", "TLS")], "s", "stat"),
]  # fmt: skip


def queries(dashboard: Mapping[str, Any]) -> Iterator[str]:
    """Return every expression of a dashboard, with the interval that Grafana would put in."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "1m")


def _dashboard(name: str, title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    variable = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}
    return {
        "uid": f"marina-{name.replace('_', '-')}",
        "title": title,
        "tags": ["marina"],
        "schemaVersion": 39,
        "timezone": "browser",
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [variable]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    heat, table = panel.kind == "heatmap", panel.kind == "table"
    targets = [
        {
            "refId": chr(ord("A") + place),
            "datasource": SOURCE,
            "expr": expression,
            "legendFormat": name,
            "format": "heatmap" if heat else "table" if table else "time_series",
            "instant": table,
        }
        for place, (expression, name) in enumerate(panel.queries)
    ]
    options: dict[str, Any] = {}
    if heat:
        options = {"calculate": False, "yAxis": {"unit": panel.unit}}
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": {"x": WIDTH * (number % 2), "y": HEIGHT * (number // 2), "w": WIDTH, "h": HEIGHT},
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": options,
    }


def write(folder: Path = FOLDER) -> Iterable[Path]:
    """Write every dashboard below a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, dashboard in dashboards().items():
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(text(dashboard))
    return paths


def text(dashboard: Mapping[str, Any]) -> str:
    """Return a dashboard as it is written."""
    return json.dumps(dashboard, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    for written in write():
        print(written.relative_to(ROOT), file=sys.stderr)
