"""A flag divides units as the gateway divides clients over versions."""

import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina.processes.children import end_with_parent
from marina.products.flags.split import PARTS, is_below, part
from marina.serving.programs import find_nginx
from marina.serving.temporary_server import free_ports
from marina.settings import read_settings
from tests.serving import ROOT

KEYS = ["", "u", "user-17", "ménage", "a" * 300, *(f"household-{number}" for number in range(300))]


def test_a_unit_is_in_the_part_that_the_gateway_draws(tmp_path: Path) -> None:
    template = (ROOT / "deploy" / "gateway" / "nginx.conf.j2").read_text()
    for hashed in ('split_clients "$model|$sticky" $hundredth', 'split_clients "$sticky|$model" $thousandth'):
        assert hashed in template
    hundredths = "".join(f"1% {place:02d};" for place in range(99)) + "* 99;"
    tenths = "".join(f"10% {place};" for place in range(9)) + "* 9;"
    [port] = free_ports(1)
    (tmp_path / "nginx.conf").write_text(
        f"""daemon off; master_process off; pid nginx.pid; error_log stderr error; events {{}}
        http {{ access_log off; large_client_header_buffers 4 8k;
            split_clients "flag|$http_key" $hundredth {{ {hundredths} }}
            split_clients "$http_key|flag" $tenth {{ {tenths} }}
            server {{ listen 127.0.0.1:{port}; return 200 $hundredth$tenth; }} }}"""
    )
    process = subprocess.Popen(
        [find_nginx(read_settings()), "-p", str(tmp_path), "-e", "stderr", "-c", str(tmp_path / "nginx.conf")],
        preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - called from the main thread
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(100):
                try:
                    client.get("/")
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
            drawn = [int(client.get("/", headers=[(b"key", key.encode())]).text) for key in KEYS]
    finally:
        process.terminate()
        process.wait(20)
    assert drawn == [part("flag", key) for key in KEYS]


@given(st.text(max_size=40), st.text(max_size=200))
def test_every_unit_is_in_one_part_and_stays_there(name: str, key: str) -> None:
    place = part(name, key)
    assert 0 <= place < PARTS
    for parts in {0, 1, 200, 333, 999, PARTS, place, place + 1}:
        assert is_below(name, key, parts) == (place < parts)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_about_as_many_units_are_on_as_the_share_says(share: float) -> None:
    on = sum(part("ml_categorization", f"user-{number}") < share * PARTS for number in range(20_000))
    assert abs(on / 20_000 - share) < 0.012
