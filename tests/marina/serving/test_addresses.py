"""Which addresses the gateway listens on, and what is said of those that are none."""

import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from marina.serving.gateway import own_url
from marina.serving.preflight import StartError, check_addresses
from marina.settings import Settings
from tests.marina.serving.front import front


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no address of IPv6")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_ipv6_serves_under_the_address_that_is_told(tmp_path: Path, host: str) -> None:
    with front(tmp_path, host=host, management_host=host) as gateway:
        url = own_url(gateway.settings, gateway.settings.host, gateway.settings.inference_port)
        assert url == f"http://[::1]:{gateway.settings.inference_port}"
        assert httpx.post(f"{url}/predictions/echo", json={}).status_code == 200
        assert gateway.management.get("/models").status_code == 401


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no address of IPv6")
def test_all_addresses_are_those_of_both_kinds(tmp_path: Path) -> None:
    with front(tmp_path, host="::") as gateway:
        port = gateway.settings.inference_port
        assert own_url(gateway.settings, "::", port) == f"http://[::1]:{port}"
        for name in ("[::1]", "127.0.0.1"):
            assert httpx.post(f"http://{name}:{port}/predictions/echo", json={}).status_code == 200


def test_all_addresses_of_ipv4_are_told_as_one_that_can_be_asked() -> None:
    assert own_url(Settings(host="0.0.0.0"), "0.0.0.0", 8080) == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    "wrong",
    [
        "999.1.1.1",
        "::1]",
        "127.0.0.1:8080",
        "http://127.0.0.1",
        "127.0.0",
        "a b",
        "[::1]:8080",
        "*",
        "1",
        "[::1",
        "::g",
    ],
)
@pytest.mark.parametrize("name", ["host", "management_host"])
def test_what_is_no_address_is_called_so_with_some_that_are(wrong: str, name: str) -> None:
    values: dict[str, Any] = {name: wrong}
    with pytest.raises(
        ValueError, match=r"no address to listen on; expected .* 127\.0\.0\.1 or ::1 .* 0\.0\.0\.0 or ::"
    ):
        Settings(**values)


@pytest.mark.parametrize("port", [0, -1, 65_536, 10**9])
@pytest.mark.parametrize("name", ["inference_port", "management_port", "metrics_port"])
def test_a_port_that_is_none_is_called_so(name: str, port: int) -> None:
    values: dict[str, Any] = {name: port}
    with pytest.raises(ValueError, match="from 1 to 65535"):
        Settings(**values)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("MARINA_HOST", "localhos"),
        ("MARINA_HOST", "192.0.2.1"),
        ("MARINA_MANAGEMENT_HOST", "2001:db8::1"),
        ("MARINA_MANAGEMENT_HOST", "no-such-name.invalid"),
    ],
)
def test_a_start_names_an_address_that_this_machine_does_not_have(name: str, host: str) -> None:
    values: dict[str, Any] = {name.removeprefix("MARINA_").lower(): host}
    with pytest.raises(StartError, match=f"{name}={host} is no address of this machine, .* 127.0.0.1 or ::1"):
        check_addresses(Settings(**values))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0"])
def test_its_own_addresses_and_names_are_taken(host: str) -> None:
    check_addresses(Settings(host=host))
