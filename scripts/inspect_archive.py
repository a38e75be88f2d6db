"""Print a readable page about an archive, and prove it as a worker would.

Looks before it loads: the linter reads the bytes first, and only a clean archive is unpacked and run.

Example
-------
    python scripts/inspect_archive.py archives/store/signflow-1.0.mar
"""

import argparse
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from archives.contract import ArchiveError, read_contract, read_json
from archives.linter import lint
from archives.store import unpack
from handlers.engine import open_proven


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="a .mar file")
    path: Path = parser.parse_args().archive
    out = Console(width=110 if not sys.stdout.isatty() else None, highlight=False)
    if findings := lint(path):
        out.print(f"[bold red]REFUSED[/]  {path}")
        for finding in findings:
            out.print(f"  - {finding}", markup=False)
        return 1
    with tempfile.TemporaryDirectory(prefix="marina-inspect-") as name:
        folder = Path(name)
        unpack(path, folder)
        _describe(out, path, folder)
        try:
            proof = _prove(folder)
        except ArchiveError as error:
            out.print(f"[bold red]REFUSED[/]  {path}")
            out.print(f"  - {error}", markup=False)
            return 1
    out.print(f"[bold green]PROVEN[/]   {proof}")
    return 0


def _prove(folder: Path) -> str:
    """Replay the golden inputs in the engine that would serve here."""
    proven = open_proven(folder, read_contract(folder / "contract.json"), None)
    return f"every hash holds; {proven.proof}"


def _describe(out: Console, path: Path, folder: Path) -> None:
    contract = read_contract(folder / "contract.json")
    provenance = read_json(folder / "provenance.json")
    certificate = read_json(folder / "certificate.json")
    out.print(f"[bold]{contract.model} {contract.version}[/]  {contract.task}, {len(contract.labels)} labels  ({path})")

    tensors = Table("", "name", "type", "shape", "unit", "missing values", title="The graph takes and gives")
    for side, group in (("in", contract.inputs), ("out", contract.outputs)):
        for one in group:
            tensors.add_row(side, one.name, one.dtype, " x ".join(map(str, one.shape)), one.unit, one.missing)
    out.print(tensors)

    facts = Table("", "", title="Where it comes from, how it is served", show_header=False)
    for name, value in _facts(provenance, certificate, yaml.safe_load((folder / "model-config.yaml").read_text())):
        facts.add_row(name, value)
    out.print(facts)

    members = Table("member", "bytes", "SHA-256", title="Members")
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            digest = certificate["sha256"].get(entry.filename, "(holds the hashes)")
            members.add_row(entry.filename, f"{entry.file_size:,}", digest[:16])
    out.print(members)


def _facts(provenance: dict[str, Any], certificate: dict[str, Any], serving: dict[str, Any]) -> list[tuple[str, str]]:
    metrics = {
        name: round(value, 4) if isinstance(value, float) else value for name, value in provenance["metrics"].items()
    }
    gap = certificate["gap"]
    return [
        ("git commit", provenance["git_commit"]),
        ("data manifest", provenance["data_manifest_sha256"]),
        ("MLflow run", provenance["mlflow_run"]),
        ("metrics", _pairs(metrics)),
        ("parameters", _pairs(provenance["parameters"])),
        ("built with", _pairs(provenance["packages"])),
        ("certified gap", f"{gap['value']:.2g} in '{gap['case']}', tolerance {certificate['tolerance']:.0e}"),
        ("decided alike", f"{certificate['decisions_equal']:,} held-out inputs"),
        ("in bfloat16", _pairs(certificate["reduced"]) if "reduced" in certificate else "never"),
        ("served with", _pairs(serving)),
    ]


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in sorted(values.items()))


if __name__ == "__main__":
    sys.exit(main())
