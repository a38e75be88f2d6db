"""A tripwire for the code an archive brings: what handlers never need, by its name in the syntax tree.

It finds accidents and clumsy attacks. It proves nothing: code that means harm can name things otherwise. Whether code
may run is a question of who signed it (`archives.signatures`).
"""

import ast
import functools
from collections.abc import Iterator

MAX_BYTES = 1024 * 1024

IMPORTS = frozenset(
    {
        "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "pickletools", "copyreg",
        "builtins", "code", "codeop", "ctypes", "_ctypes", "cffi", "imp", "importlib", "multiprocessing", "pty",
        "runpy", "subprocess", "zipimport",
    }
)  # fmt: skip
"""Modules that unpickle, load code, or start programs."""

NAMES = frozenset(
    {"__builtins__", "__globals__", "__import__", "__loader__", "__subclasses__", "compile", "eval", "exec"}
)
"""Names that no code uses, and attributes but for the ordinary words among them (`re.compile`, `model.eval`)."""

ATTRIBUTES = {
    "os": ("exec", "fork", "popen", "posix_spawn", "spawn", "startfile", "system"),
    "torch": ("load",),
    "yaml": ("full_load", "load", "unsafe_load"),
}
"""What is not used of a module: names that begin so."""

SAFE_SWITCHES = {"allow_pickle": False, "weights_only": True}
"""Arguments that have to be these, where they are given."""


@functools.lru_cache(maxsize=512)
def lint_code(content: bytes) -> tuple[str, ...]:
    """Return what is wrong with a module, a finding each; it is parsed and not run.

    Archives built from one tree share most of their modules, each of which is looked at once.
    """
    return tuple(_findings(content))


def _findings(content: bytes) -> Iterator[str]:
    if len(content) > MAX_BYTES:
        yield f"{len(content):,} bytes of code, at most {MAX_BYTES:,} are allowed"
        return
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except Exception as error:  # not Python, too deep, or with characters that are none
        yield f"is not Python: {error}"
        return
    for node in nodes:
        for found in _of_node(node):
            yield f"line {getattr(node, 'lineno', 0)} {found}"


def _of_node(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (f"imports {one.name}" for one in names if one.name.split(".")[0] in IMPORTS)
        case ast.ImportFrom(module=str(module), names=names):
            if module.split(".")[0] in IMPORTS:
                yield f"imports {module}"
            yield from (f"imports {module}.{one.name}" for one in names if _unwanted(module, one.name))
        case ast.Name(id=name) if name in NAMES:
            yield f"uses {name}"
        case ast.Attribute(value=ast.Name(id=module), attr=name) if _unwanted(module, name):
            yield f"uses {module}.{name}"
        case ast.Attribute(attr=name) if name in NAMES and name.startswith("__"):
            yield f"uses {name}"
        case ast.keyword(arg=str(name), value=value) if name in SAFE_SWITCHES:
            if not (isinstance(value, ast.Constant) and value.value is SAFE_SWITCHES[name]):
                yield f"sets {name} to something else than {SAFE_SWITCHES[name]}"


def _unwanted(module: str, name: str) -> bool:
    return name.startswith(ATTRIBUTES.get(module, ()) or ("\0",))
