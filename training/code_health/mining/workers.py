"""Measures many blobs on all cores: processes that read blobs themselves and answer in lines of JSON.

python -m training.code_health.mining.workers FOLDER OBJECTS FORM < blobs   # what each runs
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from marina.settings import ROOT
from training.code_health.mining.file_metrics import Measured, measure
from training.code_health.mining.git import Blobs, GitError, Objects

Key = tuple[str, str]  # blob and language

FEW: Final = 500
"""Fewer blobs than this are measured before a second process has started."""

_DONE: Final = ""
_FAULT: Final = "fault"  # in place of a blob: its language is then what went wrong


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def measured(objects: Objects, keys: list[Key], jobs: int) -> Iterator[tuple[Key, Measured]]:
    """Measure blobs, in no particular order.

    Parameters
    ----------
    objects
        Of the repository that has them.
    keys
        Blobs and their languages.
    jobs
        Processes at most.

    Yields
    ------
    (blob, language), Measured

    Raises
    ------
    training.code_health.mining.git.GitError
        If the repository lacks a blob.
    """
    if jobs < 2 or len(keys) < FEW:
        with Blobs(objects) as blobs:
            for blob, language in keys:
                yield (blob, language), measure(f"name.{language}", blobs.read(blob))
        return
    answers: queue.Queue[str] = queue.Queue()
    with ExitStack() as stack:
        workers = [_worker(stack, objects, keys[number::jobs], answers) for number in range(jobs)]
        running = len(workers)
        while running:
            answer = answers.get()
            if answer == _DONE:
                running -= 1
                continue
            blob, language, values, imports = json.loads(answer)
            if blob == _FAULT:
                raise GitError(language)
            yield (blob, language), Measured(tuple(values), tuple(imports))
        if any(worker.wait() for worker in workers):
            raise GitError(
                "a measuring process was ended from outside (is the memory full?); what was measured until then is "
                "kept: try again, with fewer --jobs"
            )


def _worker(stack: ExitStack, objects: Objects, keys: list[Key], answers: queue.Queue[str]) -> subprocess.Popen[str]:
    """Start a process on some blobs; it ends with the stack, whatever happens."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    worker = stack.enter_context(
        subprocess.Popen(
            # -P: nothing is imported from the folder that this is started in, which may be the repository
            [sys.executable, "-P", "-m", "training.code_health.mining.workers", *_words(objects)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    )
    if worker.stdin is None or worker.stdout is None:
        raise GitError("expected a process with pipes, got one without")
    json.dump(keys, worker.stdin)
    worker.stdin.close()  # it reads all of them before it answers
    collecting = threading.Thread(target=_collect, args=(worker.stdout, answers), daemon=True)
    collecting.start()
    stack.callback(collecting.join)
    stack.callback(worker.kill)
    return worker


def _collect(lines: Iterable[str], answers: queue.Queue[str]) -> None:
    for line in lines:
        answers.put(line)
    answers.put(_DONE)


def _words(objects: Objects) -> tuple[str, ...]:
    return str(objects.folder), str(objects.directory), objects.form


def main() -> int:
    """Answer the questions on standard input: a line of JSON each, or one that says what went wrong."""
    keys: list[Key] = json.load(sys.stdin)
    folder, directory, form = sys.argv[1:]
    try:
        with Blobs(Objects(Path(folder), Path(directory), form)) as blobs:
            for blob, language in keys:
                measured = measure(f"name.{language}", blobs.read(blob))
                print(json.dumps([blob, language, measured.values, measured.imports]), flush=True)
    except GitError as error:
        print(json.dumps([_FAULT, str(error), (), ()]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
