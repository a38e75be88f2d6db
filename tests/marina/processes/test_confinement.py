"""Model code that looks around: what it reaches, and that it serves all the same."""

import errno
import os
import platform
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from marina.processes import confinement
from marina.serving import torchserve
from tests.serving import PREDICTS, ROOT, Server, archive, running

PROBE = '''
import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

libc = sys.modules["ctypes"].CDLL(None, use_errno=True)  # past the linter, which goes by names


class Probe:
    """Does what it is asked to, and answers with what came of it."""

    def initialize(self, context):
        pass

    def handle(self, data, context):
        wishes = [json.loads(bytes(one["body"])) for one in data]
        return [json.dumps(self.attempt(*wish) if wish else {}) for wish in wishes]

    def attempt(self, what, *where):
        try:
            return {"done": str(getattr(self, what)(*where))}
        except OSError as error:
            return {"refused": repr(error)}

    def read(self, path):
        return Path(path).read_bytes()[:10]

    def write(self, path):
        return Path(path).write_text("model code was here")

    def append(self, path):
        with open(path, "a") as file:
            return file.write("model code was here")

    def names(self, path):
        return os.listdir(path)

    def remove(self, path):
        return os.remove(path)

    def link(self, path, to):
        return os.symlink(to, path)

    def opened(self, path):
        return os.chmod(path, 0o666)

    def dated(self, path):
        return os.utime(path, (0, 0))

    def shortened(self, path):
        return os.truncate(path, 0)

    def connect(self, host, port):
        return socket.create_connection((host, port), timeout=5)

    def datagram(self, host, port):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (host, port))

    def knock(self, path):
        return socket.socket(socket.AF_UNIX).connect(path)

    def listen(self, host):
        return socket.create_server((host, 0))

    def end(self, pid):
        return os.kill(pid, signal.SIGKILL)

    def attach(self, pid):
        if libc.ptrace(16, pid, None, None):
            raise OSError(sys.modules["ctypes"].get_errno(), "ptrace")

    def limit(self, pid):
        if libc.prlimit(pid, 4, None, None):
            raise OSError(sys.modules["ctypes"].get_errno(), "prlimit")

    def ring(self):
        if libc.syscall(425, 8, bytes(120)) < 0:
            raise OSError(sys.modules["ctypes"].get_errno(), "io_uring")

    def run(self, command):
        program = getattr(os, "popen")(command)
        said = program.read()
        if program.close():
            raise OSError("it failed")
        return said

    def scratch(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "file").write_text("mine")
            return Path(folder, "file").read_text()

    def privileges(self):
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return [lines[name].strip() for name in ("CapEff", "CapPrm", "NoNewPrivs")]
'''.replace('self.attempt(*json.loads(bytes(one["body"])))', 'self.attempt(*json.loads(bytes(one["body"])))')


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if confinement.shortcomings():
        pytest.skip("; ".join(confinement.shortcomings()))
    folder = tmp_path_factory.mktemp("archives")
    archives = [archive(folder, "probe", code=PROBE), archive(folder, "echo")]
    with running(archives, {"worker_paths": "[]"}) as server:
        yield server


def attempt(server: Server, *what: object) -> dict[str, Any]:
    answer = httpx.post(f"{server.url}/predictions/probe", json=what, timeout=30)
    assert answer.status_code == 200, answer.text
    answered: dict[str, Any] = answer.json()
    return answered


def secrets(server: Server) -> list[Path]:
    """Files that are none of model code's business."""
    (server.state_dir / "management.token").write_text("a secret")
    (server.state_dir / "signing.key").write_text("a secret")
    paths = [
        *(server.state_dir / name for name in ("management.token", "signing.key", "marina.db")),
        *(server.state_dir / "logs" / name for name in ("access.jsonl", "folder_id")),
        *(server.state_dir / "declared").glob("echo*.mar"),
        *(server.run_dir / name for name in ("nginx.conf", "ready.json", "owner", "python")),
        *(
            ROOT / name
            for name in ("marina/settings.py", "settings.example.env", "Makefile", "marina/serving/worker.py")
        ),
        *(Path(f"/proc/{pid}/environ") for pid in server.pids.values()),
        *(Path(name) for name in ("/etc/shadow", "/etc/ssh/sshd_config", "/root/.bashrc", "/var/log/dpkg.log")),
    ]
    return [path for path in paths if os.path.exists(path)]


@pytest.mark.slow
def test_model_code_reads_no_secret(probed: Server) -> None:
    for path in secrets(probed):
        assert "PermissionError" in attempt(probed, "read", str(path)).get("refused", "read it"), path
    for folder in (probed.state_dir, probed.run_dir, ROOT, Path.home(), probed.run_dir / "t", Path("/tmp")):
        assert "PermissionError" in attempt(probed, "names", str(folder)).get("refused", "read it"), folder
    assert "refused" in attempt(probed, "run", f"cat {probed.state_dir}/management.token")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["write", "append", "remove", "opened", "dated", "shortened"])
def test_model_code_changes_no_file(probed: Server, way: str) -> None:
    model = next((probed.run_dir / "t" / "models").glob("*/service.py"))
    logged = probed.state_dir / "spool" / "another"
    logged.write_text("{}")
    paths = [*secrets(probed), model, Path(f"/proc/{os.getpid()}/comm")]
    if way in ("write", "append"):
        paths += [ROOT / "marina" / "new.py", Path("/tmp", f"new-{uuid.uuid4().hex}")]
    for path in paths:
        assert "PermissionError" in attempt(probed, way, str(path)).get("refused", "done"), path
    if way in ("remove", "opened", "dated", "shortened"):
        assert "PermissionError" in attempt(probed, way, str(logged)).get("refused", "done")
    link = attempt(
        probed, "link", str(probed.state_dir / "spool" / "input_share.json.new"), str(ROOT / "marina/settings.py")
    )
    assert "PermissionError" in link["refused"]
    logged.unlink()


@pytest.mark.slow
def test_model_code_reaches_no_port_no_socket_and_nobody_outside(probed: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as here:
        ports = [int(url.rpartition(":")[2]) for url in (probed.url, probed.management_url, probed.metrics_url)]
        for port in (*ports, here.getsockname()[1]):
            assert "PermissionError" in attempt(probed, "connect", "127.0.0.1", port)["refused"]
            assert "PermissionError" in attempt(probed, "datagram", "127.0.0.1", port)["refused"]
    assert "PermissionError" in attempt(probed, "connect", "192.0.2.1", 443)["refused"]
    assert "refused" in attempt(probed, "connect", "example.com", 443)
    assert "PermissionError" in attempt(probed, "listen", "127.0.0.1")["refused"]
    assert "refused" in attempt(probed, "ring")
    for path in (*probed.run_dir.glob("*.sock"), *(probed.run_dir / "t").glob(".ts.sock.*"), Path("/run/docker.sock")):
        assert "PermissionError" in attempt(probed, "knock", str(path))["refused"]


@pytest.mark.slow
def test_model_code_touches_no_other_process_and_has_no_privilege(probed: Server) -> None:
    other = probed.worker_pids("echo")[0]
    for pid in (*probed.pids.values(), other, os.getpid()):
        assert "refused" in attempt(probed, "attach", pid)
        assert "PermissionError" in attempt(probed, "end", pid)["refused"]
        assert "PermissionError" in attempt(probed, "limit", pid)["refused"]
    assert attempt(probed, "privileges") == {"done": str(["0" * 16, "0" * 16, "1"])}


@pytest.mark.slow
def test_model_code_has_a_folder_of_its_own_programs_and_the_spool(probed: Server) -> None:
    assert attempt(probed, "scratch") == {"done": "mine"}
    assert attempt(probed, "run", "echo hello") == {"done": "hello\n"}
    spooled = probed.state_dir / "spool" / "probe-1.0-1-2.jsonl"
    assert "done" in attempt(probed, "write", str(spooled))
    spooled.unlink()
    java = psutil.Process(probed.pids["java"])
    assert Path(f"/proc/{java.pid}/status").read_text().count("NoNewPrivs:\t1") == 1


SCRIPT = """
import os
import socket
import usercustomize

print(os.environ["TMPDIR"], os.environ["HOME"], usercustomize.__file__)
"""


def test_nothing_of_an_archive_runs_before_it_is_confined(tmp_path: Path) -> None:
    """A module that Python loads by itself, or in place of one of the standard library's."""
    unpacked, marker = tmp_path / "archive", tmp_path / "ran"
    unpacked.mkdir()
    for name in ("sitecustomize", "usercustomize", "ctypes", "json", "runpy"):
        told = (
            f"import os\ntry:\n    os.close(os.open({str(marker)!r}, os.O_CREAT))\nexcept PermissionError:\n    pass\n"
        )
        (unpacked / f"{name}.py").write_text(told)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ran = subprocess.run(
        [*torchserve.WORKER, str(script), "--sock-name", str(tmp_path / ".ts.sock.9000")],
        env=os.environ | {"PYTHONPATH": f"{unpacked}:", "MARINA_WORKER_PATHS": f'["{script}"]'},
        cwd=unpacked,
        capture_output=True,
        text=True,
        check=True,
    )
    own = str(tmp_path / ".own.9000")
    assert ran.stdout.split() == [own, own, str(unpacked / "usercustomize.py")]
    assert not marker.exists()


ATTEMPTS = """
import ctypes
import os
import platform
import resource
import sys

libc = ctypes.CDLL(None, use_errno=True)
of_x86 = platform.machine() == "x86_64"
other, outside = int(sys.argv[-1]), os.path.abspath(__file__)


def call(number, *arguments):
    if libc.syscall(*map(ctypes.c_long, (number, *arguments))) < 0:
        raise OSError(ctypes.get_errno(), "refused")


path = ctypes.create_string_buffer(outside.encode())
prlimit, sched_setattr, ioprio_set = (302, 314, 251) if of_x86 else (261, 274, 30)
attempts = {
    "limit": lambda: resource.prlimit(other, resource.RLIMIT_CORE, (0, 0)),
    "limit by its own id": lambda: resource.prlimit(os.getpid(), resource.RLIMIT_CORE, (0, 0)),
    "limit past the low half": lambda: call(prlimit, other | 1 << 32, resource.RLIMIT_CORE, 0, 0),
    "limit past the high half": lambda: call(prlimit, 1 << 32, resource.RLIMIT_CORE, 0, 0),
    "priority": lambda: os.setpriority(os.PRIO_PROCESS, other, 19),
    "everybody's priority": lambda: os.setpriority(os.PRIO_USER, 0, os.getpriority(os.PRIO_USER, 0)),
    "scheduler": lambda: os.sched_setscheduler(other, os.SCHED_IDLE, os.sched_param(0)),
    "parameters": lambda: os.sched_setparam(other, os.sched_param(0)),
    "attributes": lambda: call(sched_setattr, other, 0, 0),
    "cores": lambda: os.sched_setaffinity(other, os.sched_getaffinity(other)),
    "disk": lambda: call(ioprio_set, 1, other, 3 << 13),
    "times": lambda: os.utime(outside, (0, 0)),
    "times, now": lambda: os.utime(outside),
    "times by a descriptor": lambda: os.utime(os.open(outside, os.O_RDONLY), (0, 0)),
    "its own limit": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    "its own limit by 0": lambda: resource.prlimit(0, resource.RLIMIT_CORE),
    "its own cores": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
}
if of_x86:
    attempts["times by utime"] = lambda: call(132, ctypes.addressof(path), 0)
    attempts["times by utimes"] = lambda: call(235, ctypes.addressof(path), 0)
    attempts["times by futimesat"] = lambda: call(261, -100, ctypes.addressof(path), 0)
for what, attempt in attempts.items():
    try:
        attempt()
        print(what, "done", sep=": ")
    except OSError as error:
        print(what, os.strerror(error.errno), sep=": ")
"""


def test_model_code_changes_no_limit_no_priority_and_no_times(tmp_path: Path) -> None:
    """What no part of Landlock sees; a process's own limits and cores are its own to set."""
    if platform.machine() not in confinement.MACHINES:
        pytest.skip(f"no filter of system calls is known for {platform.machine()}")
    script = tmp_path / "script.py"
    script.write_text(ATTEMPTS)
    other = subprocess.Popen(["sleep", "60"])
    before = script.stat()
    try:
        said = subprocess.run(
            [*torchserve.WORKER, str(script), "--sock-name", str(tmp_path / ".ts.sock.9000"), str(other.pid)],
            env=os.environ | {"MARINA_WORKER_PATHS": f'["{script}"]'},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert os.sched_getscheduler(other.pid) == os.SCHED_OTHER and os.getpriority(os.PRIO_PROCESS, other.pid) == 0
    finally:
        other.kill()
        other.wait()
    outcomes = dict(line.split(": ") for line in said.splitlines())
    done = {what for what, outcome in outcomes.items() if outcome == "done"}
    assert done == {"its own limit", "its own limit by 0", "its own cores"}
    assert set(outcomes.values()) == {"done", os.strerror(errno.EPERM)}
    assert script.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.slow
@pytest.mark.parametrize("state", ["stopped", "spinning"])
def test_a_worker_ends_with_torchserve_whatever_it_does(tmp_path: Path, state: str) -> None:
    with running([archive(tmp_path)], PREDICTS) as server:
        worker = psutil.Process(server.worker_pids("echo")[0])
        java = server.pids["java"]
        if state == "stopped":
            worker.suspend()
        else:
            wish = {"sleep_s": 1000}
            threading.Thread(
                target=lambda: httpx.post(f"{server.url}/predictions/echo", json=wish), daemon=True
            ).start()
            time.sleep(0.5)
        os.kill(java, signal.SIGKILL)
        _, alive = psutil.wait_procs([worker], timeout=10)
        assert alive == []
