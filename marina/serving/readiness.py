"""What ``/ping`` answers: files that nginx hands out, of which one's being there decides between 200 and 503.

::

    ping/all/            every model's versions and their states
    ping/brief/          whether the server is healthy, for those without a token
    ping/models/MODEL/   one model's versions: /ping/MODEL
        unhealthy.json   the body of a 503, always there
        healthy.json     the body of a 200, there while it is one
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from marina.processes.files import write_atomically

States = Mapping[str, Mapping[str, str]]
"""Each version's state, by model."""


class Readiness:
    """The files of one gateway.

    Parameters
    ----------
    folder
        The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "ping"
        (self._folder / "models").mkdir(parents=True, exist_ok=True)
        self.publish(False, {}, {})

    def publish(self, healthy: bool, answering: Mapping[str, bool], states: States) -> None:
        """Change what ``/ping`` and ``/ping/MODEL`` answer.

        Parameters
        ----------
        healthy
            Whether ``/ping`` is 200.
        answering
            Whether ``/ping/MODEL`` is 200; False for models that are not in it.
        states
            Every version's state, for the bodies. A model that is not in it is unknown.

        Raises
        ------
        OSError
            When there is no room. The statuses are right then, with bodies of before.
        """
        self._answer("brief", healthy, {})
        self._answer("all", healthy, {"models": states})
        for model, versions in states.items():
            self._answer(f"models/{model}", healthy=answering.get(model, False), details={"versions": versions})
        for path in (self._folder / "models").iterdir():
            if path.name not in states:
                shutil.rmtree(path, ignore_errors=True)

    def _answer(self, name: str, healthy: bool, details: Mapping[str, object]) -> None:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        good, bad = folder / "healthy.json", folder / "unhealthy.json"
        if not healthy:
            good.unlink(missing_ok=True)  # before all that takes room
        try:
            write_atomically(bad, json.dumps({"status": "Unhealthy", **details}) + "\n")
            if healthy:
                write_atomically(good, json.dumps({"status": "Healthy", **details}) + "\n")
        except OSError:
            if healthy:
                with contextlib.suppress(OSError):
                    os.link(bad, good)  # a name alone takes none
            raise
