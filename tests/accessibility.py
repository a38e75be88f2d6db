"""What axe-core finds wrong with a page for those who do not see it, or use no mouse."""

import gzip
import hashlib
from typing import Any

from tests.serving import ROOT

AXE = ROOT / "tests" / "axe_core" / "axe-4.14.1.min.js.gz"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
"""Of the file that was published, uncompressed."""

LEVELS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
GRAVE = ("serious", "critical")
_FIND = """async (of) => (await axe.run({runOnly: of, resultTypes: ["violations"]})).violations
    .map((one) => ({...one, nodes: one.nodes.map((node) => node.html.slice(0, 160))}))"""


def find_barriers(page: Any) -> list[str]:
    """Return the serious and critical findings of WCAG 2.2 AA on a page, light as well as dark: none, it is hoped."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_axe())
    found = []
    for scheme, of in (("light", list(LEVELS)), ("dark", ["color-contrast"])):
        page.emulate_media(color_scheme=scheme)
        for one in page.evaluate(_FIND, of):
            if one["impact"] in GRAVE:
                found.append(f"{page.url} ({scheme}): {one['id']}: {one['help']}: {one['nodes'][:3]}")
    page.emulate_media(color_scheme="light")
    return found


def _axe() -> str:
    script = gzip.decompress(AXE.read_bytes())
    assert hashlib.sha256(script).hexdigest() == SHA256, "not the file that was published"
    return script.decode()
