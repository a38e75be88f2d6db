"""Ask the server of these settings whether it is healthy, as a container's health check does.

    python -m marina.serving.health_check

Exit status 0 when ``/ping`` is 200, else 1.
"""

import ssl
import sys

import httpx

from marina.serving.gateway import own_url
from marina.settings import Settings, read_settings

TIMEOUT_S = 3.0


def own_client(settings: Settings, timeout_s: float) -> httpx.Client:
    """Return a client of the inference port, from this machine; TLS is spoken where the settings say so."""
    url = own_url(settings, settings.host, settings.inference_port)
    return httpx.Client(base_url=url, timeout=timeout_s, verify=own_certificate(settings), trust_env=False)


def own_certificate(settings: Settings) -> ssl.SSLContext | bool:
    """Trust the gateway's own certificate, whatever its signer and names: it is asked by its address."""
    if settings.tls_certificate is None:
        return True
    context = ssl.create_default_context(cafile=settings.tls_certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def main() -> int:
    """Ask, and print what is said."""
    settings = read_settings()
    token = next((token.get_secret_value() for token in settings.inference_tokens), None)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with own_client(settings, TIMEOUT_S) as client:
            answer = client.get("/ping", headers=headers)
    except (httpx.HTTPError, OSError) as error:
        print(f"no answer: {error}")
        return 1
    print(answer.text.strip())
    return 0 if answer.is_success else 1


if __name__ == "__main__":
    sys.exit(main())
