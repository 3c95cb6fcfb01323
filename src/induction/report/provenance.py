"""Where a report's numbers come from: versions, fingerprints in the tables' footers, hashes of files."""

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from induction.files import sha256_file
from induction.tables.table import model_of, open_parquet, table_of

_FOOTER = ("schema_version", "package_version", "corpus", "evaluation")


@dataclass(frozen=True)
class Footers:
    """What the footers of all parts of a table say, each once, in the parts' order."""

    table: str
    parts: int
    rows: int
    said: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Provenance:
    """Where a report's numbers come from."""

    machine: dict[str, str]
    packages: dict[str, str]
    footers: list[Footers]
    recipes: dict[str, tuple[str, ...]]
    """Fingerprints of the recipes of each model's blocks."""
    hashes: dict[str, str]


def provenance(tables: Sequence[Path], hashed: Sequence[Path]) -> Provenance:
    """Read where tables come from.

    Args:
        tables: parts of tables.
        hashed: files whose SHA-256 is told, under the names of the file and its folder.

    Raises:
        InductionError: a table is missing or truncated.
    """
    by_table: dict[str, list[Path]] = {}
    for path in tables:
        by_table.setdefault(table_of(path), []).append(path)
    recipes: dict[str, dict[str, None]] = {}
    for path in tables:
        if path.parent.name.startswith("model="):
            said = _footer(path).get("recipe", "")
            recipes.setdefault(model_of(path), {}).update(dict.fromkeys(filter(None, said.split(","))))
    return Provenance(
        machine={"Python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"},
        packages=_packages(),
        footers=[_footers(table, parts) for table, parts in sorted(by_table.items())],
        recipes={model: tuple(found) for model, found in sorted(recipes.items())},
        hashes={f"{path.parent.name}/{path.name}": sha256_file(path) for path in hashed},
    )


def _footers(table: str, parts: list[Path]) -> Footers:
    said: dict[str, dict[str, None]] = {name: {} for name in _FOOTER}
    rows = 0
    for path in parts:
        footer = _footer(path)
        rows += int(footer["rows"])
        for name, values in said.items():
            values.update(dict.fromkeys(filter(None, footer.get(name, "").split(","))))
    return Footers(table, len(parts), rows, {name: tuple(values) for name, values in said.items()})


def _footer(path: Path) -> dict[str, str]:
    with open_parquet(path, f"part of table {table_of(path)}") as file:
        footer = file.schema_arrow.metadata or {}
        rows = file.metadata.num_rows
    ours = {name.decode(): value.decode() for name, value in footer.items() if name.startswith(b"induction.")}
    return {name.removeprefix("induction."): value for name, value in ours.items()} | {"rows": str(rows)}


def _packages() -> dict[str, str]:
    """Return the versions of this package and of those that it asks for."""
    try:
        asked = requires("induction") or []
    except PackageNotFoundError:
        return {}
    names = [found[0] for one in asked if "extra ==" not in one and (found := re.match(r"[A-Za-z0-9._-]+", one))]
    found_versions = {}
    for name in ["induction", *sorted(names, key=str.lower)]:
        try:
            found_versions[name] = version(name)
        except PackageNotFoundError:
            found_versions[name] = "not installed"
    return found_versions
