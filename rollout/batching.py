"""Send when idle: the batching that TorchServe 0.12.0 almost has.

Its batch loop stops "when the remaining delay is <= 0", so with a delay of 0 a batch never holds more than two
requests, and with any other delay a request that is alone waits for company. Changing one instruction of the loop
from ``ifgt`` to ``ifge`` (stop below 0 only) makes a delay of 0 mean: take the first request, take whatever else is
queued, go. Full batches under load, no waiting when idle.

The change is made in a private copy of one class, put before the original on the class path. 0.12.0 is the last
release, so the class is known to the byte; any other is left alone. See NOTICE.
"""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

CLASS = "org/pytorch/serve/wlm/Model.class"
EXAMINED_SHA256 = "7c5523f1fe77fe79aa32665469e17725e70518692abcf4987989ef72f10d4cff"
LOOP_END = bytes.fromhex("160609949d")  # lload 6, lconst_0, lcmp, ifgt: once in the class
LOOP_END_SENDS_WHEN_IDLE = bytes.fromhex("160609949c")  # ... ifge

STOCK_DELAY_MS = 2  # the smallest delay with which the original fills batches reliably


@dataclass(frozen=True)
class Batching:
    """How TorchServe will collect batches.

    Attributes
    ----------
    override
        The jar to put first on the class path; None for the original class.
    delay_ms
        What ``max_batch_delay`` to register with when an archive asks for none.
    notice
        One sentence for the operator when the original is used; empty otherwise.
    """

    override: Path | None
    delay_ms: int
    notice: str = ""


def prepare(server_jar: Path, override_jar: Path) -> Batching:
    """Write the override of the batch loop, if the installed class is the one that was examined.

    Parameters
    ----------
    server_jar
        TorchServe's ``model-server.jar``; only read.
    override_jar
        Where to write the one-entry jar.
    """
    with zipfile.ZipFile(server_jar) as jar:
        code = jar.read(CLASS)
    found = hashlib.sha256(code).hexdigest()
    if found != EXAMINED_SHA256 or code.count(LOOP_END) != 1:
        return Batching(
            None,
            STOCK_DELAY_MS,
            f"TorchServe's batch loop is not the one of 0.12.0 (SHA-256 {found[:16]}…, expected "
            f"{EXAMINED_SHA256[:16]}…): serving with its own batching and a delay of {STOCK_DELAY_MS} ms. "
            "Install torchserve==0.12.0 to send when idle.",
        )
    with zipfile.ZipFile(override_jar, "w") as jar:
        jar.writestr(CLASS, code.replace(LOOP_END, LOOP_END_SENDS_WHEN_IDLE))
    return Batching(override_jar, 0)
