"""Configurations of a Prometheus and an Alertmanager beside this server: deploy's, with the settings' ports and people.

Secrets are written to files of their own (mode 0600), never into what may be shown.
"""

import os
from pathlib import Path
from typing import Any

import yaml

from marina.processes.files import write_atomically
from marina.settings import ROOT, Settings, management_token

DEPLOY = ROOT / "deploy"


def write_config(settings: Settings, folder: Path) -> tuple[Path, Path]:
    """Write everything that both need below a folder.

    Returns
    -------
    prometheus, alertmanager
        The paths of their configurations.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _write_secret(folder / "management.token", management_token(settings)[0])
    prometheus, alertmanager = folder / "prometheus.yml", folder / "alertmanager.yml"
    write_atomically(prometheus, yaml.safe_dump(prometheus_config(settings, folder), sort_keys=False))
    _write_secret(alertmanager, yaml.safe_dump(alertmanager_config(settings, folder), sort_keys=False))
    return prometheus, alertmanager


def prometheus_config(settings: Settings, folder: Path) -> dict[str, Any]:
    """Return Prometheus' configuration."""
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["rule_files"] = [str(DEPLOY / "prometheus" / "rules" / "*.yml")]
    targets = {
        "marina": settings.management_port,
        "torchserve": settings.metrics_port,
        "prometheus": settings.prometheus_port,
        "alertmanager": settings.alertmanager_port,
    }
    for job in config["scrape_configs"]:
        job["static_configs"] = _at(targets[job["job_name"]])
        if "authorization" in job:
            job["authorization"]["credentials_file"] = str(folder / "management.token")
            if settings.tls_certificate is not None:
                job |= {"scheme": "https", "tls_config": {"insecure_skip_verify": True}}  # loopback, by address
    config["alerting"]["alertmanagers"] = [{"static_configs": _at(settings.alertmanager_port)}]
    return config


def alertmanager_config(settings: Settings, folder: Path) -> dict[str, Any]:
    """Return Alertmanager's configuration, without the receivers that the settings name no one for."""
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
    scheme = "http" if settings.tls_certificate is None else "https"
    slack, call = settings.alert_slack_webhook.get_secret_value(), settings.alert_on_call_url.get_secret_value()
    mailed = bool(settings.alert_smtp and settings.alert_email_to)
    if slack:
        _write_secret(folder / "slack.url", slack)
    if mailed:
        config["global"] |= {"smtp_smarthost": settings.alert_smtp, "smtp_from": settings.alert_email_from}
    for receiver in config["receivers"]:
        hooks = receiver["webhook_configs"]
        http: dict[str, Any] = {
            "authorization": {"type": "Bearer", "credentials_file": str(folder / "management.token")}
        }
        if scheme == "https":
            http["tls_config"] = {"insecure_skip_verify": True}  # loopback, by address
        url = f"{scheme}://127.0.0.1:{settings.management_port}/alerts"
        hooks[0] = {"url": url, "send_resolved": True, "http_config": http}
        if len(hooks) > 1:
            hooks[1:] = [{"url": call, "send_resolved": True}] if call else []
        if "email_configs" in receiver:
            receiver["email_configs"] = [
                {"to": who, "send_resolved": True} for who in settings.alert_email_to if mailed
            ]
        if "slack_configs" in receiver:
            one = {**receiver["slack_configs"][0], "api_url_file": str(folder / "slack.url")}
            receiver["slack_configs"] = [one] if slack else []
    return config


def prometheus_command(program: str, config: Path, settings: Settings, data: Path, *more: str) -> list[str]:
    """Return how Prometheus is started: on loopback, with what it keeps in a folder."""
    return [
        program, f"--config.file={config}", f"--storage.tsdb.path={data}", "--storage.tsdb.retention.time=90d",
        f"--web.listen-address=127.0.0.1:{settings.prometheus_port}", "--log.level=warn", *more,
    ]  # fmt: skip


def alertmanager_command(program: str, config: Path, settings: Settings, data: Path) -> list[str]:
    """Return how Alertmanager is started: on loopback, and alone."""
    return [
        program, f"--config.file={config}", f"--storage.path={data}", "--cluster.listen-address=",
        f"--web.listen-address=127.0.0.1:{settings.alertmanager_port}", "--log.level=warn",
    ]  # fmt: skip


def _at(port: int) -> list[dict[str, list[str]]]:
    return [{"targets": [f"127.0.0.1:{port}"]}]


def _write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
