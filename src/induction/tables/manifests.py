"""Manifests of corpora and of blocks: what was made of what, with a hash of itself and one of each file."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from induction.errors import InductionError
from induction.files import check_seal, fingerprint, read_json

CORPUS_FIELDS = (
    "name",
    "vocab_size",
    "start_token",
    "n_documents",
    "n_train_tokens",
    "n_train_characters",
    "n_held_out_documents",
    "n_held_out_tokens",
    "n_unused_documents",
    "n_unused_tokens",
    "n_too_short",
    "n_duplicates",
    "sources",
    "shards",
    "files",
    "fingerprint",
)
"""What every manifest says. Those of earlier versions, which had no hash of themselves, say nothing else."""


def corpus_fingerprint(shards: Any, files: Any) -> str:
    """Return what identifies a corpus: the names, sizes and hashes of its files."""
    return fingerprint([shards, files])


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a corpus.

    Raises:
        InductionError: it is missing, or has changed since it was written.
    """
    manifest = read_json(path, "corpus manifest")
    again = remake_corpus(path)
    if not isinstance(manifest, dict):
        raise InductionError(f"{path}: not the manifest of a corpus (it is no object). {again}")
    if lacking := [name for name in CORPUS_FIELDS if name not in manifest]:
        raise InductionError(f"{path}: not the manifest of a corpus ({lacking[0]!r} is missing). {again}")
    check_seal(path, manifest, "corpus manifest", CORPUS_FIELDS, again)
    if manifest["fingerprint"] != corpus_fingerprint(manifest["shards"], manifest["files"]):
        raise InductionError(f"{path}: this corpus manifest has changed since it was written. {again}")
    return manifest


BLOCK_FIELDS = ("architecture", "recipe", "identity", "corpus", "snapshots")
"""The same of a block. Manifests of earlier versions have no hash, and no name of their model."""


def read_block_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a block of training.

    Raises:
        InductionError: it is missing, has changed since it was written, or is that of another model.
    """
    manifest = read_json(path, "block manifest")
    again = f"Have the block made again: snakemake --forcerun train -- {path}"
    if not isinstance(manifest, dict):
        raise InductionError(f"{path}: not the manifest of a block (it is no object). {again}")
    check_seal(path, manifest, "block manifest", BLOCK_FIELDS, again)
    if lacking := [name for name in BLOCK_FIELDS if name not in manifest]:
        raise InductionError(f"{path}: not the manifest of a block ({lacking[0]!r} is missing). {again}")
    folder = folder_of_model(path)
    if (model := manifest.get("model", folder)) != folder:
        raise InductionError(
            f"{path}: this is the manifest of model {model}, and its folder is called {folder}. Name the folder "
            f"{model} again; if it holds the files of two models: {again}"
        )
    steps = [entry["step"] for entry in manifest["snapshots"]]
    if not steps or any(later <= earlier for earlier, later in pairwise(steps)):
        raise InductionError(f"{path}: the steps of its snapshots are not ascending. {again}")
    return manifest


def folder_of_model(manifest: Path) -> str:
    """Return the name of the folder that a block's manifest lies in, which is its model's."""
    return manifest.absolute().parent.name


def remake_corpus(manifest: Path) -> str:
    """Return what to do about a corpus that is damaged."""
    return f"Make the corpus again: snakemake --force {manifest}"
