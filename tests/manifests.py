"""Manifests as stages write them, of corpora and blocks that were never made."""

from induction.files import sealed, write_json
from induction.tables.manifests import BLOCK_FIELDS, CORPUS_FIELDS, corpus_fingerprint


def write_corpus_manifest(path, **fields):
    """Write the manifest of a corpus without files."""
    nothing = {"sources": [], "shards": [], "files": {}, "fingerprint": corpus_fingerprint([], {})}
    write_json(path, sealed({**dict.fromkeys(CORPUS_FIELDS, 0), **nothing, **fields}))


def write_block_manifest(path, **fields):
    """Write the manifest of a block with a snapshot that is not there."""
    nothing = {"architecture": {}, "snapshots": [{"step": 0}]}
    write_json(path, sealed({**dict.fromkeys(BLOCK_FIELDS, ""), **nothing, **fields}))
