import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from marina.processes.console import log
from marina.serving import health_check
from marina.serving.preflight import StartError, check_exposure, check_loop, check_state_dir
from marina.settings import Settings
from tests.certificates import self_signed
from tests.marina.serving.front import front

TOKENS = ["a-token-of-a-client"]


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({}, ""),
        ({"inference_tokens": TOKENS}, ""),
        ({"host": "0.0.0.0"}, ""),
        ({"host": "0.0.0.0", "inference_tokens": TOKENS}, "MARINA_HOST=0.0.0.0"),
        ({"host": "::", "feedback_tokens": TOKENS}, "MARINA_HOST=::"),
        ({"host": "::1", "inference_tokens": TOKENS}, ""),
        ({"host": "127.0.0.2", "inference_tokens": TOKENS}, ""),
        ({"host": "api.example.org", "inference_tokens": TOKENS}, "MARINA_HOST=api.example.org"),
        ({"management_host": "10.0.0.7"}, "MARINA_MANAGEMENT_HOST=10.0.0.7"),
        ({"management_host": "10.0.0.7", "plaintext": "true"}, ""),
        ({"host": "0.0.0.0", "inference_tokens": TOKENS, "plaintext": "true"}, ""),
        ({"tls_certificate": "/nowhere.pem"}, "takes both"),
        ({"tls_certificate": "/nowhere.pem", "tls_key": "/nowhere.key"}, "MARINA_TLS_CERTIFICATE: there is no file"),
    ],
)
def test_tokens_do_not_cross_the_network_in_the_clear_unless_told(given: dict[str, Any], refused: str) -> None:
    settings = Settings.model_validate(given)
    if refused:
        with pytest.raises(StartError, match=refused):
            check_exposure(settings)
    else:
        check_exposure(settings)


def test_with_tls_tokens_may_cross_the_network(tmp_path: Path) -> None:
    check_exposure(Settings.model_validate({"host": "0.0.0.0", "inference_tokens": TOKENS, **self_signed(tmp_path)}))


def test_the_server_itself_is_asked_by_tls_where_that_is_spoken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with front(tmp_path, inference_tokens=TOKENS, **self_signed(tmp_path)) as gateway:
        with health_check.own_client(gateway.settings, 5) as client:
            assert client.get("/ping").status_code == 503
        monkeypatch.setattr(health_check, "read_settings", lambda: gateway.settings)
        assert health_check.main() == 1
        gateway.nginx.readiness.publish(True, {"echo": True}, {"echo": {"1.0": "ready"}})
        assert health_check.main() == 0
    assert health_check.main() == 1
    first, second, third = capsys.readouterr().out.splitlines()
    assert (json.loads(first)["status"], json.loads(second)["status"]) == ("Unhealthy", "Healthy")
    assert third.startswith("no answer")


def test_what_workers_said_gives_a_terminal_no_orders(capsys: pytest.CaptureFixture[str]) -> None:
    log("echo 1.0 refuses to serve: \x1b[2Jeverything is fine\nreally")
    assert capsys.readouterr().out.endswith("refuses to serve: \\x1b[2Jeverything is fine\nreally\n")


def test_a_server_without_training_runs_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    check_loop(Settings(ml_loop=True))
    monkeypatch.setitem(sys.modules, "training", None)  # as in Dockerfile.gpu
    check_loop(Settings())
    with pytest.raises(StartError, match="MARINA_ML_LOOP"):
        check_loop(Settings(ml_loop=True))


@pytest.mark.parametrize("name", ["", "state"])
def test_a_state_folder_of_another_user_is_named(tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o500)
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        try:
            if not os.geteuid():
                os.setuid(61999)
            check_state_dir(Settings(state_dir=tmp_path / name))
        except StartError as error:
            os.write(tell, str(error).encode())
        os._exit(0)
    os.close(tell)
    os.waitpid(child, 0)
    with os.fdopen(told) as words:
        said = words.read()
    assert "may not write in" in said
    assert "MARINA_STATE_DIR" in said
    tmp_path.chmod(0o700)
