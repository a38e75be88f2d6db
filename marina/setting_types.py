"""What some settings have to look like: addresses, hosts, origins, ports and tokens, each with its rule as text."""

import contextlib
import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, SecretStr


def _bearer(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]{16,256}", token.get_secret_value()):
        raise ValueError("a bearer token has 16 to 256 letters, digits or . _ ~ + / = -")
    return token


def _host(name: str) -> str:
    if not re.fullmatch(r"(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:]+\]", name):
        raise ValueError("a host is a name or an address without port: api.example.org, *.example.org, 10.0.0.7, [::1]")
    return name.lower()


def _address(host: str) -> str:
    """Return an address to listen on, without brackets, or a name, which is looked up when the server starts."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(bare))
    if re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", bare):
        return bare
    port = "; the port is a setting of its own, MARINA_INFERENCE_PORT" if re.search(r"[^:]:\d+$", host) else ""
    raise ValueError(
        f"{host!r} is no address to listen on; expected one of this machine's: 127.0.0.1 or ::1 for this machine "
        f"alone, 0.0.0.0 or :: for the network{port}"
    )


def _origin(origin: str) -> str:
    if origin != "*" and not re.fullmatch(
        r"[a-z][a-z0-9+.-]*://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:\d{1,5})?", origin.lower()
    ):
        raise ValueError(
            "an origin is a scheme and a host, with a port unless it is the usual one, and no path: "
            "https://app.example.org, http://localhost:3000; * is any page"
        )
    return origin.lower()


def _port(port: int) -> int:
    if not 1 <= port <= 65535:
        raise ValueError("a port is a whole number from 1 to 65535, and each another one")
    return port


Address = Annotated[str, AfterValidator(_address)]
Origin = Annotated[str, AfterValidator(_origin)]
Port = Annotated[int, AfterValidator(_port)]
Host = Annotated[str, AfterValidator(_host)]
Token = Annotated[SecretStr, AfterValidator(_bearer)]
