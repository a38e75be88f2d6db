"""Print a readable page about an archive, and prove its graph as a worker would, if a trusted signer signed it.

    python scripts/inspect_archive.py archives/store/signflow-1.0.mar
    python scripts/inspect_archive.py --trust signflow-1.0.mar      # run the graph although no trusted signer signed it
    python scripts/inspect_archive.py --card signflow-1.0.mar       # its model card alone; nothing is run

Looks before it loads: the linter reads the bytes; then it is asked who signed them; only then the graph is run, by this
installation's code and not by the archive's. Nothing proves the code in an archive: it is as certified, and as
trustworthy as its signer. Exit status: 0 proven (with --card: printed), 1 refused, 3 looked at and not run.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from archives.archive import Archive, open_archive
from archives.contract import ArchiveError
from archives.keys import read_keyring
from archives.linter import CARD, read_text
from archives.signatures import Trust
from handlers.engine import open_verified
from marina.processes.console import plain
from marina.settings import read_settings

NOT_RUN = 3


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="inspect_archive.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path, help="a .mar file")
    parser.add_argument("--trust", action="store_true", help="run the graph although no trusted signer signed it")
    parser.add_argument("--card", action="store_true", help="print its model card and nothing else")
    options = parser.parse_args(argv)
    path: Path = options.archive
    out = Console(width=110 if not sys.stdout.isatty() else None, highlight=False)
    try:
        archive = open_archive(path)
        if not options.card:
            _describe(out, archive)
        signer = Trust(read_keyring(read_settings().signers_dir), "allow").signer(archive)
        if options.card:
            out.print(_text(_card(archive)), soft_wrap=True)
            return 0
        proof = _prove(archive) if signer or options.trust else ""
    except ArchiveError as error:
        out.print(Text("REFUSED", "bold red"), _text(f"  {path}\n{error}"))
        return 1
    who = f"signed by {signer}" if signer else "signed by no trusted signer"
    if not proof:
        out.print(
            Text("NOT RUN", "bold yellow"), _text(f"  every hash holds; {who}; --trust runs the graph"), soft_wrap=True
        )
        return NOT_RUN
    out.print(Text("GRAPH PROVEN", "bold green"), _text(f"  {proof}"))
    out.print(_text(f"the code is as certified, and not proven; {who}"), soft_wrap=True)
    return 0


def _prove(archive: Archive) -> str:
    """Replay the golden inputs in the engine that would serve here."""
    with tempfile.TemporaryDirectory(prefix="marina-inspect-") as folder:
        archive.unpack(Path(folder))
        return open_verified(Path(folder), archive.contract, None).proof


def _card(archive: Archive) -> str:
    if CARD not in archive.members:
        raise ArchiveError(f"{archive.path.name} has no model card: it was built before there were any. Build it again")
    return read_text(archive.members[CARD]).rstrip()


def _describe(out: Console, archive: Archive) -> None:
    contract = archive.contract
    provenance, certificate = archive.json("provenance.json"), archive.json("certificate.json")
    about = f"{contract.task}, {len(contract.labels)} labels  ({archive.path}, SHA-256 {archive.sha256})"
    out.print(Text(f"{contract.model} {contract.version}", "bold"), _text(about))

    tensors = Table("", "name", "type", "shape", "unit", "missing values", title="The graph takes and gives")
    for side, group in (("in", contract.inputs), ("out", contract.outputs)):
        for one in group:
            shape = " x ".join(map(str, one.shape))
            tensors.add_row(*map(_text, (side, one.name, one.dtype, shape, one.unit, one.missing)))
    out.print(tensors)

    facts = Table("", "", title="Where it says it comes from, how it is served", show_header=False)
    for name, value in _facts(provenance, certificate, archive.serving):
        facts.add_row(_text(name), _text(value))
    out.print(facts)

    members = Table("member", "bytes", "SHA-256", title="Members")
    for name, content in archive.members.items():
        digest = certificate["sha256"].get(name, "(holds the hashes)")
        members.add_row(_text(name), f"{len(content):,}", _text(digest[:16]))
    out.print(members)


def _facts(provenance: dict[str, Any], certificate: dict[str, Any], serving: dict[str, Any]) -> list[tuple[str, str]]:
    said, gap = provenance.get, certificate.get("gap")
    shipped = said("fits")
    fits: dict[str, Any] = shipped if isinstance(shipped, dict) else {}
    return [
        ("git commit", _plain(said("git_commit"))),
        ("data manifest", _plain(said("data_manifest_sha256"))),
        ("MLflow run", _plain(said("mlflow_run"))),
        ("metrics", _plain(said("metrics"))),
        ("evaluated on", _plain(fits.get("evaluated"))),
        ("ships", _plain(fits.get("shipped"))),
        ("fitted again", _plain(fits.get("refitted"))),
        ("quick", _plain(said("quick"))),
        ("parameters", _plain(said("parameters"))),
        ("built with", _plain(said("packages"))),
        ("certified gap", f"{_plain(gap)}, tolerance {_plain(certificate.get('tolerance'))}"),
        ("decided alike", f"{_plain(certificate.get('decisions_equal'))} held-out inputs"),
        ("in bfloat16", _plain(certificate["reduced"]) if "reduced" in certificate else "never"),
        ("served with", _plain(serving)),
    ]


def _plain(value: object) -> str:
    """Write what a member says, whatever it is."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(one)}" for name, one in sorted(value.items()))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "not stated" if value is None else value if isinstance(value, str) else json.dumps(value)


def _text(words: object) -> Text:
    """Show words of an archive as they are: neither its markup nor its escapes mean anything here."""
    return Text(plain(str(words)))


if __name__ == "__main__":
    sys.exit(main())
