"""Who reaches what: ports and files."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serving import Server


def listening(process: psutil.Process) -> list[int]:
    return sorted(one.laddr.port for one in process.net_connections(kind="inet") if one.status == psutil.CONN_LISTEN)


@pytest.mark.slow
def test_no_process_but_the_gateway_listens_on_a_port(server: Server) -> None:
    supervisor = psutil.Process(server.process.pid)
    by_name = {process.pid: listening(process) for process in [supervisor, *supervisor.children(recursive=True)]}
    ports = sorted(int(url.rpartition(":")[2]) for url in (server.url, server.management_url, server.metrics_url))
    gateway = psutil.Process(server.pids["nginx"])
    nginx = {gateway.pid, *(worker.pid for worker in gateway.children())}
    assert server.pids["java"] in by_name
    assert {pid: found for pid, found in by_name.items() if pid not in nginx and found} == {}
    assert by_name[gateway.pid] == ports


@pytest.mark.slow
def test_the_metrics_port_gives_metrics_and_nothing_else(server: Server) -> None:
    httpx.post(f"{server.url}/predictions/echo", json={})
    assert "ts_inference_requests_total" in httpx.get(f"{server.metrics_url}/metrics").text
    assert httpx.post(f"{server.metrics_url}/metrics").status_code == 405
    for path in ("/", "/models", "/api-description", "/predictions/echo", "/ping"):
        assert httpx.get(f"{server.metrics_url}{path}").json()["error"]["code"] == "no_such_path"


def files_of(server: Server) -> list[Path]:
    """Every file, folder and socket of the state and run folders."""
    return [path for top in (server.state_dir, server.run_dir) for path in (top, *top.rglob("*"))]


@pytest.mark.slow
def test_every_file_of_a_run_is_its_users_alone(server: Server) -> None:
    httpx.post(f"{server.url}/predictions/echo", json={})
    # A socket is as open as its folder; a link has no mode.
    found = [path for path in files_of(server) if not path.is_symlink() and not path.is_socket()]
    assert {path.suffix for path in found} >= {".jsonl", ".db", ".log", ".conf", ".mar"}
    assert [f"{path} {path.lstat().st_mode & 0o777:o}" for path in found if path.lstat().st_mode & 0o077] == []


ANYBODY = 65534
TRY_ALL = """
import os, socket, stat, sys

os.setgroups([]), os.setgid(int(sys.argv[1])), os.setuid(int(sys.argv[1]))
for path in sys.stdin.read().splitlines():
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISSOCK(mode):
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(path)
        elif stat.S_ISDIR(mode):
            os.listdir(path)
        elif not stat.S_ISLNK(mode):
            os.close(os.open(path, os.O_RDONLY))
        else:
            continue
        print("reached", path)
    except PermissionError:
        pass
    try:
        os.close(os.open(path if not stat.S_ISDIR(mode) else path + "/new", os.O_WRONLY | os.O_CREAT))
        print("wrote", path)
    except OSError:
        pass
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_reads_and_writes_no_file_and_connects_to_no_socket(server: Server) -> None:
    for way in {*server.state_dir.parents, *server.run_dir.parents} & {server.state_dir.parent, server.temp_dir}:
        way.chmod(0o755)  # the folders themselves are to hold, not what is above them
    names = "\n".join(str(path) for path in files_of(server))
    command = [sys.executable, "-c", TRY_ALL, str(ANYBODY)]
    tried = subprocess.run(command, input=names, capture_output=True, text=True, check=True)
    assert tried.stdout == ""
    assert len(names.splitlines()) > 30


GRPC_LIST = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # an HTTP/2 connection opens so (RFC 9113, 3.4); gRPC is spoken over it
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # and empty settings
)


@pytest.mark.slow
def test_no_port_of_the_server_speaks_grpc(server: Server) -> None:
    for process in (top := psutil.Process(server.process.pid)), *top.children(recursive=True):
        for port in listening(process):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(GRPC_LIST)
                answer = connection.recv(100)
            assert not answer or answer.startswith(b"HTTP/1.1 400"), (port, answer)
