"""The manifest of a corpus: what was made of which sources, with a hash of itself and one of each file."""

from pathlib import Path
from typing import Any

from induction.errors import InductionError
from induction.files import check_seal, fingerprint, read_json

_FIELDS = (
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
    if lacking := [name for name in _FIELDS if name not in manifest]:
        raise InductionError(f"{path}: not the manifest of a corpus ({lacking[0]!r} is missing). {again}")
    check_seal(path, manifest, "corpus manifest", _FIELDS, again)
    if manifest["fingerprint"] != corpus_fingerprint(manifest["shards"], manifest["files"]):
        raise InductionError(f"{path}: this corpus manifest has changed since it was written. {again}")
    return manifest


def remake_corpus(manifest: Path) -> str:
    """Return what to do about a corpus that is damaged."""
    return f"Make the corpus again: snakemake --force {manifest}"
