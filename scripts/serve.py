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

from archives.errors import MarinaError
from marina.processes.console import show
from marina.releases.declarations import Declared, read_archive
from marina.rollout import archive_lookup, server
from marina.rollout.restore import offered
from marina.serving import example_request, service_user
from marina.serving.preflight import check_loop, check_state_dir
from marina.settings import read_settings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--archive", type=Path, action="append", default=[], metavar="FILE", help="serve this archive (repeatable)"
    )
    parser.add_argument("--newest", action="store_true", help="serve the newest versions instead of the desired ones")
    parser.add_argument("--sample", action="store_true", help="when ready, send a request and show the answer")
    options = parser.parse_args()
    try:
        settings = read_settings()
        check_state_dir(settings)
        check_loop(settings)
        service_user.step_down(settings)

        def when_ready(ready: Sequence[Declared]) -> None:
            if options.sample:
                show(example_request.ask(settings, ready))

        trust = archive_lookup.trust(settings)
        chosen = [read_archive(path, trust=trust) for path in options.archive]
        if options.newest and not chosen:
            chosen = offered(settings.archive_store, trust)
        server.serve(settings, chosen, when_ready)
    except KeyboardInterrupt:  # before there was anything to stop
        return 130
    except MarinaError as error:
        show(f"marina: {error}", sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
