"""Building a corpus: what its documents and tokens must be, whatever the files they came from."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from corpus.small_corpora import ODD_TEXTS, build, decoded, random_texts, stored_tokens, write_texts
from induction.corpus.mixture import largest_mixture
from induction.corpus.order import DocumentOrder, OrderedDocument
from induction.corpus.shards import token_dtype
from induction.corpus.tokenizer import encode, n_threads, train
from induction.errors import InductionError


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_document_is_read_back_once(small, texts):
    training, held_out = decoded(small)
    assert Counter(training + held_out) == Counter(texts)
    assert len(held_out) > 5
    assert len(training) > 5


def test_a_text_that_spells_the_start_token_is_text(tmp_path):
    build(tmp_path / "corpus", write_texts(tmp_path / "a", [*random_texts(0, 40), ODD_TEXTS[0]]), held_out=0.5)
    training, held_out = stored_tokens(tmp_path / "corpus")
    assert (training == 0).sum() + (held_out == 0).sum() == 41


def test_same_text_same_bytes_in_another_process(tmp_path, texts):
    source = write_texts(tmp_path / "a", texts)
    build(tmp_path / "here", source)
    program = (
        "import sys, pathlib, corpus.small_corpora as s; s.build(pathlib.Path(sys.argv[1]), {'files': sys.argv[2]})"
    )
    subprocess.run(
        [sys.executable, "-c", program, tmp_path / "there", source["files"]],
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert bytes_of(tmp_path / "here") == bytes_of(tmp_path / "there")


def test_this_room_needs_no_torch():
    rooms = ", ".join(f"induction.corpus.{module}" for module in ("build", "evaluation", "probes", "shards"))
    program = f"import sys, {rooms}; sys.exit('torch was imported' if 'torch' in sys.modules else 0)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_order_of_sources_changes_no_token(tmp_path):
    one, two = (write_texts(tmp_path / f"{seed}", random_texts(seed, 40)) for seed in (1, 2))
    build(tmp_path / "ab", one, two)
    build(tmp_path / "ba", two, one)
    forward, backward = bytes_of(tmp_path / "ab"), bytes_of(tmp_path / "ba")
    del forward["manifest.json"], backward["manifest.json"]
    assert forward == backward


def test_another_seed_gives_another_order_and_other_held_out_documents(tmp_path, texts):
    source = write_texts(tmp_path / "a", texts)
    fingerprints = {build(tmp_path / f"{seed}", source, seed=seed)["fingerprint"] for seed in (0, 1)}
    (training, held_out), (other_training, other_held_out) = (decoded(tmp_path / f"{seed}") for seed in (0, 1))
    assert set(held_out) != set(other_held_out)
    both = set(training) & set(other_training)
    assert [text for text in training if text in both] != [text for text in other_training if text in both]
    assert len(fingerprints) == 2


def test_a_source_that_is_added_moves_no_document(tmp_path):
    one, two = (write_texts(tmp_path / f"{seed}", random_texts(seed, 60)) for seed in (1, 2))
    build(tmp_path / "a", one)
    build(tmp_path / "ab", one, two)
    for before, after in zip(decoded(tmp_path / "a"), decoded(tmp_path / "ab"), strict=True):
        assert [text for text in after if text in set(before)] == before


def test_duplicates_and_short_documents_are_dropped_and_counted(tmp_path):
    texts = random_texts(1, 50)
    shared, long = texts[:7], [text for text in texts if len(text) >= 100]
    manifest = build(
        tmp_path / "corpus",
        write_texts(tmp_path / "a", texts),
        write_texts(tmp_path / "b", shared + random_texts(2, 30) + shared),
        min_characters=100,
    )
    long_shared = [text for text in shared if len(text) >= 100]
    training, held_out = decoded(tmp_path / "corpus")
    assert set(long) <= set(training + held_out)
    assert max(Counter(training + held_out).values()) == 1
    assert all(len(text) >= 100 for text in training + held_out)
    assert manifest["n_duplicates"] == 2 * len(long_shared) > 0
    assert manifest["n_documents"] + manifest["n_held_out_documents"] == len(training + held_out)
    n_read = 50 + 30 + 14
    assert manifest["n_too_short"] == n_read - 2 * len(long_shared) - len(training + held_out)
    of_first = manifest["sources"][0]
    assert of_first["n_documents"] + of_first["n_held_out_documents"] == len(long)


def test_the_held_out_share_is_the_asked_one(tmp_path):
    n, share = 4000, 0.2
    with DocumentOrder(tmp_path, share, seed=0) as order:
        for number in range(n):
            order.add(0, f"document {number}".encode())
    held_out = sum(document.held_out for document in order)
    assert abs(held_out - share * n) < 4 * np.sqrt(n * share * (1 - share))


def test_the_manifest_counts_what_is_stored(small, texts):
    manifest = build(small.parent / "whole", {"files": f"{small.parent}/texts/*"})
    training, held_out = stored_tokens(small.parent / "whole")
    assert len(manifest["shards"]) == 1
    assert manifest["n_train_tokens"] == len(training)
    assert manifest["n_held_out_tokens"] == len(held_out)
    assert manifest["n_train_characters"] == sum(map(len, decoded(small)[0]))
    assert manifest["n_unused_tokens"] == 0
    counts = np.load(small.parent / "whole" / "token_counts.npy")
    assert (counts == np.bincount(training, minlength=400)).all()
    offsets = np.load(small.parent / "whole" / "held_out_offsets.npy")
    assert offsets.tolist() == [*np.flatnonzero(held_out == 0), len(held_out)]


def test_shards_are_the_whole_cut_into_pieces(small):
    build(small.parent / "uncut", {"files": f"{small.parent}/texts/*"})
    sizes = [len(np.load(path)) for path in sorted(small.glob("train-*.npy"))]
    assert sizes[:-1] == [1000] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= 1000
    for cut, uncut in zip(stored_tokens(small), stored_tokens(small.parent / "uncut"), strict=True):
        assert (cut == uncut).all()


# --- mixtures ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    documents=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 50)), min_size=1, max_size=60),
    weights=st.tuples(*[st.integers(1, 9)] * 3),
)
def test_the_mixture_is_the_largest_whose_shares_are_the_weights(documents, weights):
    sources, n_tokens = (np.array(column, dtype=np.int64) for column in zip(*documents, strict=True))
    used = largest_mixture(sources, n_tokens, weights)
    totals = [int(n_tokens[sources == source].sum()) for source in range(3)]
    scale = min(Fraction(total, weight) for total, weight in zip(totals, weights, strict=True))
    exhausted = 0
    for source in range(3):
        of_source = sources == source
        taken = int(n_tokens[of_source & used].sum())
        assert (np.diff(used[of_source].astype(int)) <= 0).all(), "of each source, its first documents"
        assert taken <= scale * weights[source]
        if taken < totals[source]:
            first_left = n_tokens[of_source][int(used[of_source].sum())]
            assert taken + first_left > scale * weights[source], "within one document of its share"
        exhausted += taken == totals[source]
    assert exhausted, "a larger mixture would need more of some source than there is"


def test_a_weighted_corpus_has_the_weights_within_a_document(tmp_path):
    many, few = random_texts(1, 120), random_texts(2, 60)
    manifest = build(
        tmp_path / "corpus",
        {**write_texts(tmp_path / "a", many), "weight": 1},
        {**write_texts(tmp_path / "b", few), "weight": 3},
    )
    one, three = (source["n_train_tokens"] for source in manifest["sources"])
    tokens, _ = stored_tokens(tmp_path / "corpus")
    longest = max(len(part) for part in np.split(tokens, np.flatnonzero(tokens == 0)[1:]))
    assert abs(three - 3 * one) < 3 * longest
    training, held_out = decoded(tmp_path / "corpus")
    assert manifest["n_unused_documents"] == 180 - len(training) - len(held_out) > 0
    assert sum(source["n_unused_tokens"] for source in manifest["sources"]) == manifest["n_unused_tokens"] > 0


# --- vocabularies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vocab_size", "dtype"), [(2**16, "uint16"), (2**16 + 1, "uint32")])
def test_tokens_take_two_bytes_up_to_65536(tmp_path, vocab_size, dtype):
    assert token_dtype(vocab_size) == dtype
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    texts = [" ".join("".join(word) for word in rng.choice(letters, (1500, 12))) for _ in range(16)]
    build(tmp_path / "corpus", write_texts(tmp_path / "a", texts), vocab_size=vocab_size)
    training, held_out = stored_tokens(tmp_path / "corpus")
    assert training.dtype == held_out.dtype == dtype
    assert sorted(chain(*decoded(tmp_path / "corpus"))) == sorted(texts)


def test_too_little_text_for_the_vocabulary(tmp_path, texts):
    source = write_texts(tmp_path / "a", texts[:10])
    with pytest.raises(
        InductionError, match=r"corpora\.small: vocab_size: .* give (\d+) tokens, fewer than 50000"
    ) as e:
        build(tmp_path / "corpus", source, vocab_size=50_000)
    n_found = int(str(e.value).split(" tokens, fewer")[0].split()[-1])
    assert f"Lower vocab_size to {n_found} or less" in str(e.value)
    assert build(tmp_path / "corpus", source, vocab_size=n_found)["vocab_size"] == n_found


def test_a_vocabulary_of_long_words_is_that_of_their_pieces():
    """Trained on the whole words, this would take hours."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), 10**6)), "a" * 10**6]
    pieces = [word[start : start + 2000] for word in words for start in range(0, 10**6, 2000)]
    whole, cut = (
        train((OrderedDocument(0, False, text) for text in [*random_texts(0, 40), *texts]), 400).to_str()
        for texts in (words, pieces)
    )
    assert whole == cut
    tokenizer = Tokenizer.from_str(whole)
    n_words = len(tokenizer.pre_tokenizer.pre_tokenize_str(f"{words[0]} {words[1]}"))
    assert n_words == 2, "only training cuts them"


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_threads_change_no_token_and_no_order(tmp_path, texts, monkeypatch, n_threads):
    monkeypatch.setattr("induction.corpus.tokenizer._BATCH_CHARACTERS", 300)
    monkeypatch.setenv("OMP_NUM_THREADS", str(n_threads))
    tokenizer = Tokenizer(models.BPE({"<|start|>": 0, **{chr(code): code for code in range(1, 0x250)}}, []))
    documents = [OrderedDocument(0, False, text) for text in texts if max(map(ord, text)) < 0x250 and "\0" not in text]
    found = list(encode(tokenizer, iter(documents)))
    assert [document for document, _ in found] == documents
    assert all(tokens.tolist() == [0, *map(ord, document.text)] for document, tokens in found)


def test_the_threads_are_those_of_the_job(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert n_threads() == 3
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for unclear in ("", "0", "2,4"):
        monkeypatch.setenv("OMP_NUM_THREADS", unclear)
        assert n_threads() == available


# --- failures ---------------------------------------------------------------------------------------------------


def test_a_failed_build_leaves_no_manifest_and_no_scratch(tmp_path, texts):
    out = tmp_path / "corpus"
    build(out, write_texts(tmp_path / "a", texts))
    (out / "train-00007.npy").touch()
    (out / ".scratch").mkdir()
    (tmp_path / "a" / "0003.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InductionError, match=r"models\.yaml: corpora\.small\.sources\.0: .*0003\.txt: not UTF-8"):
        build(out, {"files": f"{tmp_path}/a/*.txt"})
    assert not (out / "manifest.json").exists()
    assert not (out / ".scratch").exists()
    assert not list(out.glob("train-*"))
    assert not list(out.glob("*.partial"))


def test_no_document_left(tmp_path, texts):
    source = write_texts(tmp_path / "a", texts)
    with pytest.raises(InductionError, match=r"no held-out document .* change held_out \(now 1e-06\)"):
        build(tmp_path / "corpus", source, held_out=1e-6)
    with pytest.raises(InductionError, match=r"give 257 tokens, fewer than 400.* lower min_characters"):
        build(tmp_path / "corpus", source, min_characters=10**6)
    with pytest.raises(InductionError, match=r"no training document .* \[0\] of them.* min_characters \(now 1000000\)"):
        build(tmp_path / "corpus", source, min_characters=10**6, vocab_size=257)


@pytest.mark.parametrize("seed", range(12))
def test_one_large_document_is_told_what_helps(tmp_path, seed):
    """Whether it fell to training or to evaluation, before a vocabulary is made of it."""
    source = write_texts(tmp_path / "a", ["\n".join(random_texts(seed, 60))])
    with pytest.raises(
        InductionError, match=r"no (training|held-out) document is left to use: the sources give 1 document in all"
    ) as e:
        build(tmp_path / "corpus", source, seed=seed, held_out=0.5)
    assert "Split the text: a file, a row of .jsonl or .parquet" in str(e.value)


def test_a_lone_surrogate_names_its_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n{"text": "\\ud800"}\n')
    with pytest.raises(InductionError, match=r"a\.jsonl:2: not text that UTF-8 can hold"):
        build(tmp_path / "corpus", {"files": f"{tmp_path}/a.jsonl"})


def test_corpora_change_only_on_purpose(small):
    """Stored, not derived: raise CORPUS_VERSION of study/corpora.py when this must change."""
    training, held_out = stored_tokens(small)
    digest = hashlib.sha256(np.concatenate([training, held_out]).astype(np.int64).tobytes()).hexdigest()
    assert digest[:16] == "224ca0a2cfa209c3"
