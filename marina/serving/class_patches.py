"""Examined changes to TorchServe 0.12.0: a few instructions, in private copies of its classes.

Each change replaces bytes that occur once in a class by as many others. The copies are put before the originals on
Java's class path; what is installed is not touched. 0.12.0 is the last release, so its classes are known to the byte:
any other is no TorchServe that was examined, and the server refuses to start with it unless the settings allow it. See
NOTICE.
"""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from archives.errors import MarinaError

STOCK_DELAY_MS = 2  # the smallest delay with which the original batch loop fills batches reliably


class UnexaminedError(MarinaError):
    """The installed TorchServe is not the one that was examined; the message says what to do."""


@dataclass(frozen=True)
class Change:
    """One change of one class.

    Attributes
    ----------
    name
        The class file in TorchServe's jar.
    sha256
        Of the class that was examined.
    before, after
        Instructions, as many bytes each; the first occur once in the class.
    loss
        What is lost where the change cannot be made.
    """

    name: str
    sha256: str
    before: bytes
    after: bytes
    loss: str


# Its batch loop stops "when the remaining delay is <= 0", so with a delay of 0 a batch never holds more than two
# requests, and with any other a request that is alone waits for company. Stopping below 0 only makes a delay of 0
# mean: take the first request, take whatever else is queued, go.
SEND_WHEN_IDLE = Change(
    "org/pytorch/serve/wlm/Model.class",
    "7c5523f1fe77fe79aa32665469e17725e70518692abcf4987989ef72f10d4cff",
    bytes.fromhex("160609949d"),  # lload 6, lconst_0, lcmp, ifgt
    bytes.fromhex("160609949c"),  # ...                      ifge
    f"a lone request waits up to {STOCK_DELAY_MS} ms for company",
)
# Its gRPC servers ask for no token, know no allowed path, and cannot be switched off: anyone who reaches their ports
# runs code as the server's user. Their start is called once.
NO_GRPC = Change(
    "org/pytorch/serve/ModelServer.class",
    "779d0df5bfc17c5ad09ac46d63d9a017d48a4cd68c1b7464de914d3cb40190b9",
    bytes.fromhex("2ab600b4"),  # aload_0, invokevirtual #180: startGRPCServers()
    bytes(4),  # nop
    "two ports of this machine take commands from any of its users, without a token, and run code as the server's",
)
CHANGES = (SEND_WHEN_IDLE, NO_GRPC)


@dataclass(frozen=True)
class Prepared:
    """The changes that were made.

    Attributes
    ----------
    jar
        To be put first on the class path.
    missing
        Changes that the installed TorchServe is too different for.
    """

    jar: Path
    missing: tuple[Change, ...] = ()

    @property
    def delay_ms(self) -> int:
        """What ``max_batch_delay`` to register with when an archive asks for none."""
        return STOCK_DELAY_MS if SEND_WHEN_IDLE in self.missing else 0

    @property
    def notices(self) -> list[str]:
        """What is reported to the operator of each missing change."""
        return [f"this TorchServe is not the one that was examined: {change.loss}" for change in self.missing]


def prepare(server_jar: Path, override_jar: Path, *, unexamined: bool = False) -> Prepared:
    """Write the changed classes.

    Parameters
    ----------
    server_jar
        TorchServe's ``model-server.jar``; only read.
    override_jar
        Where to write.
    unexamined
        Continue with classes that were not examined, as they are.

    Raises
    ------
    UnexaminedError
        When a class is another one, and `unexamined` is not set.
    """
    missing = []
    with zipfile.ZipFile(server_jar) as stock, zipfile.ZipFile(override_jar, "w") as changed:
        for change in CHANGES:
            code = stock.read(change.name) if change.name in stock.namelist() else b""
            if hashlib.sha256(code).hexdigest() != change.sha256:
                missing.append(change)
            else:
                changed.writestr(change.name, code.replace(change.before, change.after))
    if missing and not unexamined:
        raise UnexaminedError(_refusal(server_jar, missing))
    return Prepared(override_jar, tuple(missing))


def _refusal(server_jar: Path, missing: Sequence[Change]) -> str:
    lines = [f"  {change.name}: without the change to it, {change.loss}" for change in missing]
    return "\n".join(
        [
            f"The TorchServe in {server_jar} is not the 0.12.0 that was examined. Other classes than expected:",
            *lines,
            "Install torchserve==0.12.0 (make install), or set MARINA_UNEXAMINED_TORCHSERVE=allow to serve with it.",
        ]
    )
