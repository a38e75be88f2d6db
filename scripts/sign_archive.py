"""Sign archives with the key of this installation, so that they may run where it is trusted.

    python scripts/sign_archive.py archives/store/signflow-1.0.mar
    python scripts/sign_archive.py --public > keys/laptop.pem      # the public key, for the signers of other servers

What training builds is signed already. A signature says that you trust the archive: look at it first with
scripts/inspect_archive.py. It replaces the one that is there.
"""

import argparse
import sys
from pathlib import Path

from archives.archive import open_archive
from archives.contract import ArchiveError
from archives.errors import MarinaError
from archives.keys import signing_key
from archives.signatures import sign, signature_path
from archives.store import write_readable
from marina.processes.console import show
from marina.settings import read_settings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="sign_archive.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archives", type=Path, nargs="*", metavar="FILE")
    parser.add_argument("--public", action="store_true", help="print the public key and, on standard error, its id")
    options = parser.parse_args(argv)
    if not (options.archives or options.public):
        parser.error("expected archives to sign, or --public")
    settings, failed = read_settings(), 0
    try:
        key = signing_key(settings.signing_key, settings.state_dir)
    except ArchiveError as error:
        show(error, sys.stderr)
        return 1
    if options.public:
        print(key.public_pem.decode(), end="")
        print(key.id, file=sys.stderr)
    for path in options.archives:
        try:
            write_readable(signature_path(path), sign(open_archive(path), key))
            print(f"{path}: signed with {key.id}")
        except (MarinaError, OSError) as error:
            failed = 1
            show(f"{path}: {error}", sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
