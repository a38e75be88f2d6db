"""What a killed run left behind: its processes are ended and its folder is removed before the next run starts.

The kernel ends what a killed supervisor started (`marina.serving.torchserve.end_with_parent`,
`marina.serving.gateway`), but not what takes no notice of a signal that may be ignored, such as a stopped nginx. A
process is of a dead run when ``/proc`` says that it was started for it, and the lock of that run's folder is free.
Nothing is ended on the word of a file.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from marina.processes.console import log
from marina.serving.run_dir import PREFIX, run_parent
from marina.settings import Settings

ENDS_WITHIN_S = 10.0


def clear(settings: Settings) -> bool:
    """End and remove what dead runs of this user left; return whether any process was still there.

    The state folder is held, so that the run which it names last is over (`marina.serving.preflight.only_one`).
    """
    found = False
    for run in _list_runs(settings):
        with _dead(run) as dead:
            if dead:
                found |= _end(run)
                if run.exists():
                    log(f"removing the run folder of a killed run: {run}")
                    shutil.rmtree(run, ignore_errors=True)
    return found


def _list_runs(settings: Settings) -> set[Path]:
    """Return the run folders there are, and the one that this state folder named last."""
    runs = {
        path for path in run_parent().glob(f"{PREFIX}????????") if os.path.exists(path / "owner")
    }  # False of another user's, which may not be looked into
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        last = Path(json.loads((settings.state_dir / "running.json").read_text())["run_dir"])
        if last.name.startswith(PREFIX):
            runs.add(last)
    return runs


@contextlib.contextmanager
def _dead(run: Path) -> Iterator[bool]:
    """Hold a run's folder for as long as the block lasts; return whether no one else does, and it is ours."""
    if not run.exists():
        yield True
        return
    try:
        descriptor = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield os.fstat(descriptor).st_uid == os.geteuid()
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def processes(run: Path) -> list[psutil.Process]:
    """Find the processes of a run: started with its name in their environment, or nginx in its folder."""
    return [one for one in psutil.process_iter() if one.pid != os.getpid() and _of(run, one)]


def _of(run: Path, process: psutil.Process) -> bool:
    try:
        if process.name() == "nginx":  # it writes its title over its environment
            return Path(process.cwd()).is_relative_to(run)
        return bool(process.environ().get("MARINA_RUN_DIR") == str(run))
    except psutil.Error:  # gone, or another user's
        return False


def _end(run: Path) -> bool:
    left = processes(run)
    for process in left:
        with contextlib.suppress(psutil.Error):
            log(f"killing a process of a killed run: {process.pid} ({process.name()})")
            process.kill()
    _, alive = psutil.wait_procs(left, timeout=ENDS_WITHIN_S)
    for process in alive:
        log(f"process {process.pid} does not exit; it may keep ports and memory")
    return bool(left)
