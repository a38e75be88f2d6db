"""What a process tells its operator, on its console or in its log.

Words of others, people's, workers' and archives', are in it: a terminal takes escapes in them for orders, and hides
what comes after some.
"""

import contextlib
import re
import time
from typing import TextIO

# Control characters but tab and line feed, what turns the direction of writing, and halves of characters.
ORDERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def plain(text: str) -> str:
    r"""Return a text with everything that is no writing spelled out.

    Examples
    --------
    >>> plain("done\x1b[2J\r")
    'done\\x1b[2J\\r'
    """
    return ORDERS.sub(lambda found: found[0].encode("unicode-escape").decode(), text)


def show(value: object, stream: TextIO | None = None) -> None:
    """Print what may hold words of others.

    Parameters
    ----------
    stream
        Where; None: standard output.
    """
    print(plain(str(value)), file=stream, flush=True)


def log(text: str, stream: TextIO | None = None) -> None:
    """Log a line for the operator, with the time; a closed terminal and a full disk are no reason to stop working.

    Parameters
    ----------
    text
        What to log.
    stream
        Where; None: standard output.
    """
    with contextlib.suppress(OSError, ValueError):
        show(f"{time.strftime('%H:%M:%S')}  {text}", stream)
