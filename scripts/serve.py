"""Serve archives on port 8080 until Ctrl-C.

Examples::

    python scripts/serve.py                     # what is declared; the newest of each model in the store that is not
    python scripts/serve.py --newest            # the newest version of each model in the store, at once
    python scripts/serve.py --archive archives/store/signflow-1.0.mar
    MARINA_INFERENCE_PORT=9080 python scripts/serve.py

Every other setting is an environment variable: see settings.example.env.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from archives.contract import ArchiveError
from archives.store import newest
from events.database import DatabaseError
from rollout import sample, supervisor
from rollout.declaration import DeclarationError, Declared, read_archive
from rollout.gateway import GatewayError
from rollout.premises import StartError
from rollout.torchserve import MissingProgramError
from settings import Settings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--archive", type=Path, action="append", default=[], metavar="FILE", help="serve this archive (repeatable)"
    )
    parser.add_argument("--newest", action="store_true", help="serve the newest versions in place of those declared")
    parser.add_argument("--sample", action="store_true", help="when ready, send a request and show the answer")
    options = parser.parse_args()
    try:
        settings = Settings()

        def when_ready(ready: Sequence[Declared]) -> None:
            if options.sample:
                print(sample.ask(settings, ready), flush=True)

        chosen = options.archive or ([one.path for one in newest(settings.archive_store)] if options.newest else [])
        supervisor.serve(settings, [read_archive(path) for path in chosen], when_ready)
    except KeyboardInterrupt:  # before there was anything to stop
        return 130
    except ValidationError as error:
        print(f"marina: a setting cannot be used (settings.example.env describes them all): {error}", file=sys.stderr)
        return 1
    except (ArchiveError, DatabaseError, DeclarationError, GatewayError, MissingProgramError, StartError) as error:
        print(f"marina: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
