"""How an archive asks to be served: what its `model-config.yaml` may say, and nothing else.

TorchServe takes many more keys there; some let a request be answered late or never, start processes, or run code.
"""

from typing import Any

import yaml

from archives.contract import ArchiveError

MAX_BYTES = 16_384
MAX_DEPTH = 6

BOUNDS = {
    "minWorkers": (1, 64),
    "maxWorkers": (1, 64),
    "batchSize": (1, 4096),
    "maxBatchDelay": (0, 60_000),
    "responseTimeout": (1, 3600),
    "startupTimeout": (1, 3600),
    "maxRetryTimeoutInSec": (0, 3600),
    "jobQueueSize": (1, 65_536),
}
"""TorchServe's keys, with the least and the most that each may be; a whole number each."""

HANDLER = "handler"
"""The key under which a family's own settings stand."""

_FANCY = (yaml.AnchorToken, yaml.AliasToken, yaml.TagToken, yaml.DirectiveToken)
_OPENING = (
    yaml.BlockMappingStartToken, yaml.BlockSequenceStartToken, yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken
)  # fmt: skip
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def read_serving(content: bytes | memoryview) -> dict[str, Any]:
    """Read a `model-config.yaml`.

    Raises
    ------
    ArchiveError
        When it is not YAML of the plainest kind (no anchors, no tags, no key twice), or says something else than
        `BOUNDS` and the handler's settings.
    """
    if len(content) > MAX_BYTES:
        raise ArchiveError(f"{len(content):,} bytes, at most {MAX_BYTES:,} are allowed")
    try:
        _check_tokens(bytes(content))
        _check_keys(yaml.compose(bytes(content), yaml.SafeLoader))
        settings = yaml.safe_load(bytes(content))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ArchiveError(f"not YAML that can be used: {error}") from error
    if not isinstance(settings, dict):
        raise ArchiveError(f"expected settings by name, found {type(settings).__name__}")
    for name, value in settings.items():
        if name == HANDLER:
            if not isinstance(value, dict):
                raise ArchiveError(f"{HANDLER}: expected settings by name, got {value!r}")
        elif name not in BOUNDS:
            raise ArchiveError(f"{name}: expected one of {', '.join(sorted(BOUNDS))}, {HANDLER}")
        else:
            least, most = BOUNDS[name]
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise ArchiveError(f"{name}: expected a whole number from {least} to {most}, got {value!r}")
    if settings.get("maxWorkers", settings.get("minWorkers", 1)) < settings.get("minWorkers", 1):
        raise ArchiveError("maxWorkers: expected at least minWorkers")
    return settings


def _check_tokens(content: bytes) -> None:
    """Refuse what grows when it is read: depth, which the parser pays for with time, and one value used twice."""
    depth = 0
    for token in yaml.scan(content, yaml.SafeLoader):
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
        if isinstance(token, _FANCY):
            raise ValueError("an anchor, an alias, a tag or a directive")


def _check_keys(node: Any) -> None:
    """Refuse keys of which two parsers may take another one."""
    if isinstance(node, yaml.MappingNode):
        keys = [key.value if isinstance(key, yaml.ScalarNode) else None for key, _ in node.value]
        if None in keys or len(set(keys)) != len(keys):
            raise ValueError("a key that appears twice, or is no word")
        for _, value in node.value:
            _check_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check_keys(value)
