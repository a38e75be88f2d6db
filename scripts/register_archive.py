"""Enter built archives in MLflow's registry, as training does by itself when it can.

    python scripts/register_archive.py archives/store/signflow-2.0.mar
    MLFLOW_TRACKING_URI=http://mlflow:5000 python scripts/register_archive.py archives/store/*.mar

Each archive names the run that made it, which that MLflow must have. What is entered already stays as it is.
"""

import argparse
import sys
from pathlib import Path

from archives.errors import MarinaError
from archives.registry import Registry
from marina.processes.console import show
from marina.settings import read_settings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="register_archive.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archives", type=Path, nargs="+", metavar="FILE")
    registry, failed = Registry(read_settings().state_dir), 0
    for archive in parser.parse_args(argv).archives:
        try:
            entered = registry.register(archive)
            show(f"{archive}: version {entered.number} of {entered.model}")
        except (MarinaError, OSError) as error:
            failed = 1
            show(f"{archive}: {error}", sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
