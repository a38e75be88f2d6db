"""TorchServe as a child process: its Java runtime, command, environment and private folder."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from marina.processes import confinement
from marina.processes.children import end_with_parent
from marina.processes.cpu import usable_cores
from marina.serving.class_patches import NO_GRPC, Prepared
from marina.serving.programs import MissingProgramError, find_java
from marina.serving.run_dir import RunDir
from marina.settings import MEBIBYTE, ROOT, Settings

CONFIG = ROOT / "config.properties"
LOGGING = ROOT / "deploy" / "torchserve" / "log4j2.xml"
# Isolated, so that nothing of the archive, which is on the worker's PYTHONPATH, runs before marina/serving/worker.py
# does.
WORKER = (sys.executable, "-Iu", str(Path(__file__).with_name("worker.py")))
PLACEHOLDER = re.compile(r"\$\$([^$]+)\$\$")
# A credential has no business in a process that runs model code.
SECRET_NAME = re.compile(r"(?i).*(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_KEY|DATABASE_URL).*")


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
        "MARINA_RUN_DIR": _insert(run_dir.path),
        "MARINA_MODEL_STORE": _insert(model_store.resolve()),
        "MARINA_MAX_REQUEST_BYTES": str(settings.body_limit_bytes + 65536),
        "MARINA_JOB_QUEUE_SIZE": str(settings.job_queue_size),
        "MARINA_JAVA_HEAP": f"{settings.heap_bytes // MEBIBYTE}m",
        "MARINA_REQUEST_TIMEOUT_S": str(settings.request_timeout_s),
        "MARINA_GPUS": str(count_gpus()),
        "MARINA_SPOOL": str(settings.spool_dir.resolve()),
        "MARINA_SPOOL_LIMIT_BYTES": str(settings.spool_limit_bytes),
        "MARINA_LOG_SHARE": str(settings.log_share),
        "MARINA_LOG_INPUT_SHARE": str(settings.log_input_share),
        "MARINA_LOG_INPUT_LIMIT_BYTES": str(settings.log_input_limit_bytes),
        "MARINA_LOG_REDACT": json.dumps(settings.log_redact),
        "MARINA_WORKER_PATHS": json.dumps([str(place.resolve()) for place in settings.worker_paths]),
        "MARINA_WORKER_NETWORK": "1" if settings.worker_network else "",
        "LOG_LOCATION": logs,
        "METRICS_LOCATION": logs,
        "TEMP": str(run_dir.temp),
        "TMPDIR": str(run_dir.temp),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "PYTHONUNBUFFERED": "1",
    }


def _insert(path: Path) -> str:
    """Write a path for a placeholder: TorchServe inserts it by Java's `appendReplacement`, to which "$" is a group."""
    return str(path).replace("\\", "\\\\").replace("$", "\\$")


def _confine(settings: Settings, changed: Prepared) -> Callable[[], None]:
    """Make a ``preexec_fn``: no privilege, no network, and an end with the supervisor's. Workers inherit the former."""
    tie = end_with_parent(signal.SIGKILL)

    def arrange() -> None:
        confinement.give_up_privileges()
        if not settings.worker_network and NO_GRPC not in changed.missing:  # its gRPC servers want a port
            confinement.give_up_network()
        tie()

    return arrange


def java_options(config: Path, env: Mapping[str, str]) -> list[str]:
    """Read ``vmargs``, which TorchServe leaves to the caller that starts Java, with the placeholders filled in."""
    for line in config.read_text().splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "vmargs":
            return PLACEHOLDER.sub(lambda match: env[match[1]], value).split()
    return []


def command(settings: Settings, run_dir: RunDir, env: Mapping[str, str], changed: Prepared, package: Path) -> list[str]:
    """Build the command that runs TorchServe directly, without its launcher (which loses signals)."""
    return [
        str(find_java(settings)),
        f"-Dmodel_server_home={package.parent}",
        f"-Djava.io.tmpdir={run_dir.temp}",
        f"-Dlog4j.configurationFile={LOGGING.as_uri()}",
        *java_options(CONFIG, env),
        *("-cp", f"{changed.jar}:{package / 'frontend'}/*", "org.pytorch.serve.ModelServer"),
        *("--python", str(run_dir.python), "-f", str(CONFIG), "-ncs"),
    ]


def start(
    settings: Settings, run_dir: RunDir, model_store: Path, workers: int, changed: Prepared
) -> subprocess.Popen[bytes]:
    """Start TorchServe with no model; the reconciler registers them.

    It gets a session of its own, so that Ctrl-C in a terminal reaches the supervisor alone, and ends when the
    supervisor does.
    """
    shutil.rmtree(run_dir.temp, ignore_errors=True)  # what a killed predecessor extracted
    for folder in (run_dir.temp, run_dir.path / "workflows", settings.log_dir):
        folder.mkdir(parents=True, exist_ok=True)
    for leftover in (run_dir.inference_socket, run_dir.management_socket, run_dir.metrics_socket):
        leftover.unlink(missing_ok=True)
    # By a shell: a first line of "#!" knows neither spaces nor long paths.
    run_dir.python.write_text(f'#!/bin/sh\nexec {shlex.join(WORKER)} "$@"\n')
    run_dir.python.chmod(0o700)
    env = environment(settings, run_dir, model_store, workers)
    with (settings.log_dir / "torchserve.console.log").open("ab") as console:
        return subprocess.Popen(
            command(settings, run_dir, env, changed, installed()),
            env=env,
            cwd=run_dir.path,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            preexec_fn=_confine(settings, changed),  # noqa: PLW1509 - a few calls
        )
