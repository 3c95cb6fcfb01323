"""Where parts of tables come from: the fingerprints in their footers, and that parts read together belong together."""

from collections.abc import Sequence
from pathlib import Path

from induction.errors import InductionError
from induction.tables.table import open_parquet


def provenance_of(parts: Sequence[Path]) -> dict[str, str]:
    """Read the footers of parts that are read together, and return the provenance of what is made of them.

    Returns:
        The fingerprints `corpus` and `evaluation` that the parts share, and their `recipe`s in order, each once, joined
        by commas. What no part has is absent.

    Raises:
        InductionError: a part is missing or truncated, or two are of different corpora or evaluation sets.
    """
    seen: dict[str, dict[str, Path]] = {"recipe": {}, "corpus": {}, "evaluation": {}}
    for path in parts:
        with open_parquet(path, "table") as file:
            footer = file.schema_arrow.metadata or {}
        for name, first_of in seen.items():
            for fingerprint in filter(None, footer.get(f"induction.{name}".encode(), b"").decode().split(",")):
                first_of.setdefault(fingerprint, path)
    for name in ("corpus", "evaluation"):
        if len(seen[name]) > 1:
            (one, one_path), (other, other_path) = list(seen[name].items())[:2]
            raise InductionError(
                f"{one_path} and {other_path}: not of one {name}: {one} and {other}. "
                "Only then can they be read together: delete the stale one and run snakemake again."
            )
    return {name: ",".join(first_of) for name, first_of in seen.items() if first_of}
