"""Reading a corpus: any stretch of tokens, and what is said of a file that is not whole."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.small_corpora import stored_tokens
from induction.corpus.shards import open_corpus
from induction.errors import InductionError


@settings(deadline=None)
@given(data=st.data())
def test_reading_across_shards_equals_the_concatenation(small, data):
    corpus, (tokens, _) = open_corpus(small), stored_tokens(small)
    assert corpus.n_train_tokens == len(tokens)
    places = st.one_of(st.integers(0, len(tokens)), st.sampled_from(corpus.shard_offsets.tolist()))
    start, stop = sorted((data.draw(places), data.draw(places)))
    read = corpus.read(start, stop)
    assert read.dtype == np.int64
    assert read.tolist() == tokens[start:stop].tolist()


def test_reading_past_the_end(small):
    corpus = open_corpus(small)
    for start, stop in ((-1, 3), (5, 4), (0, corpus.n_train_tokens + 1)):
        with pytest.raises(IndexError, match="tokens"):
            corpus.read(start, stop)


@pytest.fixture
def copy(small, tmp_path):
    shutil.copytree(small, tmp_path / "corpus")
    return tmp_path / "corpus"


@pytest.mark.parametrize("name", ["train-00001.npy", "held_out.npy", "held_out_offsets.npy", "token_counts.npy"])
def test_a_file_that_is_not_whole(copy, name):
    content = (copy / name).read_bytes()
    for kept in (content[:-2], content[:60], b""):
        (copy / name).write_bytes(kept)
        with pytest.raises(InductionError, match=rf"{name}: truncated .* snakemake --force {copy}/manifest\.json"):
            open_corpus(copy)
    np.save(copy / name, np.zeros(3, dtype=np.float32))
    with pytest.raises(InductionError, match=rf"{name}: holds float32 of shape \(3,\); .* manifest says \d+ values of"):
        open_corpus(copy)
    (copy / name).unlink()
    with pytest.raises(InductionError, match=rf"{name}: .* it is missing.* snakemake --force {copy}/manifest\.json"):
        open_corpus(copy)


def test_a_manifest_that_is_missing_or_another(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["vocab_size"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InductionError, match=r"not the manifest of a corpus .'vocab_size' is missing"):
        open_corpus(copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(InductionError, match=r"this corpus manifest does not exist. Snakemake makes it"):
        open_corpus(copy)
