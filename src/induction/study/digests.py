"""Digests of code: what a stage computes, apart from how its text is laid out.

Snakemake does not see that an imported module changed; a digest of the stage's syntax trees in a rule's `params`
makes it see. Comments, docstrings, descriptions of settings and layout do not count, and the digest is the same for
every Python version.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

import induction

_ROOT = Path(induction.__file__).parent
_PACKAGE = "induction"


@cache
def code_digest(module: str) -> str:
    """Return 16 hexadecimal digits of the syntax trees of `module` and of all it imports inside this package.

    Files that are no Python, such as templates, count byte by byte with the package in whose folder they lie.
    """
    _found(module)
    digest = hashlib.sha256()
    for name in sorted(imported_modules(module)):
        digest.update(f"{name}\n{_text_of(name)}\n".encode())
        for path in _data_files(name):
            digest.update(path.name.encode() + b"\n" + path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def imported_modules(module: str) -> frozenset[str]:
    """Return `module` and, transitively, the modules of this package that it imports (packages' own files included).

    The top package is left out: it holds the version, and a release must not make anything anew by itself.
    """
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name in found or name == _PACKAGE or _file(name) is None:
            continue
        found.add(name)
        parts = name.split(".")
        pending.extend(".".join(parts[:depth]) for depth in range(2, len(parts)))
        pending.extend(_imports(name))
    return frozenset(found)


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Return what a module imports of this package; some of it may be no module."""
    found: list[str] = []
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names if alias.name.split(".")[0] == _PACKAGE)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == _PACKAGE:
            found.append(node.module)
            found.extend(f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(found)


def _file(module: str) -> Path | None:
    path = _ROOT.joinpath(*module.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _data_files(module: str) -> list[Path]:
    """Return the files of a package's folder that are no Python, in the order of their paths."""
    init = _found(module)
    if init.name != "__init__.py":
        return []
    files = (path for path in init.parent.rglob("*") if path.is_file())
    return sorted(path for path in files if path.suffix not in (".py", ".pyc"))


def _found(module: str) -> Path:
    path = _file(module)
    if path is None:
        raise ModuleNotFoundError(module)
    return path


@cache
def tree_of(module: str) -> ast.Module:
    """Return the syntax tree of a module of this package, which is not imported."""
    return ast.parse(_found(module).read_text(encoding="utf-8"))


@cache
def _text_of(module: str) -> str:
    """Return the canonical text of a module; once, as most modules are imported by many stages."""
    return _canonical(tree_of(module))


def _canonical(node: object) -> str:
    """Return a syntax tree as text: names and values only, no positions, docstrings or empty fields.

    Python versions differ in which empty fields a node has; leaving all of them out makes the text the same.
    """
    if isinstance(node, ast.AST):
        fields = {name: value for name, value in ast.iter_fields(node) if name not in ("ctx", "kind", "type_comment")}
        if isinstance(node, ast.Call):
            fields["keywords"] = [keyword for keyword in node.keywords if keyword.arg != "description"]
        inside = ",".join(f"{name}={_canonical(value)}" for name, value in fields.items() if value not in (None, []))
        return f"{type(node).__name__}({inside})"
    if isinstance(node, list):
        return f"[{','.join(_canonical(item) for item in node if not _is_docstring(item))}]"
    return repr(node)


def _is_docstring(node: object) -> bool:
    """Tell a string that stands alone: of a module, a class, a function or an attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
