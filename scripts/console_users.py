"""Who may use the console, and as what: add someone, list all, let someone no longer.

    python scripts/console_users.py add ada --role operator      # prints the token, once
    python scripts/console_users.py list
    python scripts/console_users.py revoke ada

Roles, each with what those before it may: viewer (look), annotator (label and review), operator (decide, roll back,
edit rules), approver (approve that a canary takes all traffic). To add someone again is to give a new role and token.
"""

import argparse
import getpass
import sys
import time

from archives.errors import MarinaError
from marina.console import people
from marina.processes.console import show
from marina.releases.heads import open_database
from marina.rollout.explain import clock
from marina.settings import read_settings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--who", default=getpass.getuser(), help="who asks, for the ledger (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="add|list|revoke")
    adding = commands.add_parser("add", help="add someone, and print their token")
    adding.add_argument("name")
    adding.add_argument("--role", choices=people.ROLES, default="viewer", help="(default: %(default)s)")
    commands.add_parser("list", help="list all")
    commands.add_parser("revoke", help="let someone use it no longer").add_argument("name")
    options = parser.parse_args(argv)
    try:
        database = open_database(read_settings(), first=True)
        database.upgrade()
        try:
            if options.command == "add":
                print(people.add(database, options.name, options.role, options.who, time.time()))
            elif options.command == "revoke":
                people.revoke(database, options.name, options.who, time.time())
                show(f"{options.name} may use the console no longer")
            else:
                with database.reading() as connection:
                    for one in people.everyone(connection):
                        gone = f", revoked {clock(one.revoked_at)}" if one.revoked_at is not None else ""
                        show(f"{one.name}: {one.role}, added {clock(one.added_at)} by {one.added_by}{gone}")
        finally:
            database.close()
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
