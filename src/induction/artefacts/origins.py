"""Where the files that a stage reads come from: whether they belong together, and to the study.

Every file says of itself which job made it (`identity`), and which model, corpus and evaluation set it is of. A stage
compares all of its inputs before it computes anything.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from induction.errors import InductionError
from induction.files import cannot_read, read_svg
from induction.tables.manifests import read_block_manifest, read_manifest
from induction.tables.table import open_parquet, remake
from induction.tables.tensors import read_all_tensors

IDENTITY = "identity"
"""Key of a job's identity in the footers and headers of what it writes."""
JOB = "job"
"""The same in manifests, where `identity` is that of a training."""


@dataclass(frozen=True)
class Origin:
    """What a file says of itself; empty where it says nothing. Tables of several models have several fingerprints."""

    path: Path
    identity: str = ""
    model: str = ""
    recipes: tuple[str, ...] = ()
    corpora: tuple[str, ...] = ()
    evaluations: tuple[str, ...] = ()


def origin_of(path: Path) -> Origin:
    """Read where a table, a set of arrays, a manifest or a figure comes from.

    Raises:
        InductionError: the file is missing or cannot be read.
    """
    if path.suffix == ".parquet":
        return _of_table(path)
    if path.suffix == ".safetensors":
        return _origin(path, _header(path))
    if path.suffix in _IN_TEXT:
        return _origin(path, {IDENTITY: _in_text(path)})
    if path.name == "manifest.json":
        manifest = read_manifest(path)
        return _origin(path, {**manifest, IDENTITY: manifest.get(JOB), "corpus": manifest["fingerprint"]})
    manifest = read_block_manifest(path)
    said = {IDENTITY: manifest.get(JOB), "recipe": manifest["identity"], "corpus": manifest["corpus"]}
    return _origin(path, said, path.parent.name)


def _of_table(path: Path) -> Origin:
    folder = path.parent.name
    return _origin(path, _footer(path), folder.removeprefix("model=") if folder.startswith("model=") else "")


def _origin(path: Path, said: Mapping[str, Any], model: str = "") -> Origin:
    # A corpus is known by what training reads of it; tables and blocks hold that fingerprint as `corpus`.
    corpus = said.get("training") or said.get("training_fingerprint") or said.get("corpus")
    recipes, corpora, evaluations = (
        tuple(filter(None, str(value or "").split(",")))
        for value in (said.get("recipe"), corpus, said.get("evaluation"))
    )
    return Origin(path, str(said.get(IDENTITY) or ""), model, recipes, corpora, evaluations)


def is_stale(path: Path, identity: str) -> bool:
    """Tell whether a file was made from other settings than the study's; one that carries no identity passes."""
    try:
        carried = origin_of(path).identity
    except InductionError:
        return False  # whoever reads it reports what is wrong
    return carried not in ("", identity)


def check_together(origins: Sequence[Origin], of_one: Literal["model", "corpus", "study"]) -> None:
    """See that files that are read together belong together: those of each model to one recipe, and so on.

    Args:
        origins: of all files that a stage reads.
        of_one: whether they must all be of one model (and so of one corpus), or of one corpus.

    Raises:
        InductionError: two files disagree; both are named.
    """
    of_models = [origin for origin in origins if origin.model]
    if of_one == "model":
        _one("model", ((origin.model, origin) for origin in of_models))
    by_model: dict[str, list[Origin]] = {}
    for origin in of_models:
        by_model.setdefault(origin.model, []).append(origin)
    for group in by_model.values():
        _one("recipe", ((recipe, origin) for origin in group for recipe in origin.recipes))
    of_one_corpus = [origin for origin in origins if len(origin.corpora) == 1]
    for group in by_model.values() if of_one == "study" else [of_one_corpus]:
        _one("corpus", ((corpus, origin) for origin in group for corpus in origin.corpora))
    by_corpus: dict[str, list[Origin]] = {}
    for origin in of_one_corpus:
        by_corpus.setdefault(origin.corpora[0], []).append(origin)
    alone = [] if of_one == "study" else [origin for origin in origins if not origin.corpora]
    for group in [[*one, *alone] for one in by_corpus.values()] or [alone]:
        _one("evaluation", ((found, origin) for origin in group for found in origin.evaluations))
    for shared in (origin for origin in origins if not origin.model and origin.recipes):
        for origin in of_models:
            if origin.recipes and not set(origin.recipes) <= set(shared.recipes):
                raise InductionError(
                    f"{shared.path} and {origin.path}: the first was not made from the second's recipe "
                    f"{origin.recipes[0]}. {_STALE}"
                )


def check_expected(origins: Iterable[Origin], expected: Mapping[Path, str]) -> None:
    """See that files are those that the study asks for.

    Args:
        origins: of the files.
        expected: the identity that a file must carry; of one that is not named, any.

    Raises:
        InductionError: a file was made from other settings.
    """
    for origin in origins:
        identity = expected.get(origin.path, origin.identity)
        if origin.identity != identity:
            carried = f"carries the identity {origin.identity}" if origin.identity else "carries no identity"
            raise InductionError(
                f"{origin.path}: does not belong to the study as it is configured now: it {carried}, the study "
                f"expects {identity}. A recipe, a corpus or a setting has changed since the file was written. "
                f"{remake(origin.path)}"
            )


def provenance_of(parts: Sequence[Path]) -> dict[str, str]:
    """Read the footers of parts that are read together, and return the provenance of what is made of them.

    Returns:
        The fingerprints `corpus` and `evaluation` that the parts share, and their `recipe`s in order, each once, joined
        by commas. What no part has is absent.

    Raises:
        InductionError: a part is missing or truncated, or two are of different models, corpora or evaluation sets.
    """
    origins = [_of_table(path) for path in parts]
    check_together(origins, "model")
    return joined(origins)


def joined(origins: Iterable[Origin]) -> dict[str, str]:
    """Return all fingerprints of some files by their names, each once, in order, joined by commas."""
    seen: dict[str, dict[str, None]] = {name: {} for name in _FINGERPRINTS}
    for origin in origins:
        for name, fingerprints in zip(_FINGERPRINTS, (origin.recipes, origin.corpora, origin.evaluations), strict=True):
            seen[name].update(dict.fromkeys(fingerprints))
    return {name: ",".join(found) for name, found in seen.items() if found}


_FINGERPRINTS = ("recipe", "corpus", "evaluation")
_STALE = "Delete the stale one and run snakemake again."


def _one(what: str, found: Iterable[tuple[str, Origin]]) -> None:
    first_of: dict[str, Origin] = {}
    for value, origin in found:
        first_of.setdefault(value, origin)
    if len(first_of) > 1:
        (one, one_origin), (other, other_origin) = list(first_of.items())[:2]
        raise InductionError(
            f"{one_origin.path} and {other_origin.path}: not of one {what}: {one} and {other}. "
            f"Only then can they be read together. {_STALE}"
        )


def _footer(path: Path) -> dict[str, Any]:
    with open_parquet(path, "table") as file:
        footer = file.schema_arrow.metadata or {}
    return {name.decode().removeprefix("induction."): value.decode() for name, value in footer.items()}


def _header(path: Path) -> dict[str, Any]:
    arrays, about = read_all_tensors(path, _ARRAYS.get(path.stem, "file"))
    # An evaluation set is known by its own fingerprint; what was made from one names it.
    return {**about, "evaluation": about.get("fingerprint")} if "random_index" in arrays else about


_ARRAYS = {
    "evaluation": "evaluation set",
    "probes": "set of probes",
    "prompts": "set of prompts",
    "token_classes": "set of token classes",
}

_IN_TEXT = {".svg": r"<dc:identifier>(\w*)</dc:identifier>", ".html": r'<meta name="identity" content="(\w*)">'}
"""Suffix -> where the identity stands in figures and reports."""


def _in_text(path: Path) -> str:
    try:
        text = read_svg(path, "figure").decode() if path.suffix == ".svg" else path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InductionError(f"{path}: this file does not exist. Make it: snakemake {path}") from None
    except OSError as error:
        raise cannot_read(path, "file", error) from error
    except UnicodeDecodeError as error:
        raise InductionError(f"{path}: damaged: {error}. {remake(path)}") from None
    found = re.search(_IN_TEXT[path.suffix], text)
    return found[1] if found else ""
