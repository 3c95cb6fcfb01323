"""Held-out text that occurs in the training text: measured against sets of runs, and dropped where it is too much."""

import json

import numpy as np
import pytest

from corpus.small_corpora import build, decoded, random_texts, stored_tokens, write_texts
from induction.artefacts.origins import origin_of
from induction.corpus import overlap
from induction.corpus.evaluation import evaluation
from induction.corpus.overlap import N_TOKENS, HeldOutRuns
from induction.corpus.probes import probes
from induction.corpus.prompts import prompts
from induction.corpus.shards import open_corpus
from induction.corpus.split import Split
from induction.corpus.token_classes import token_classes
from induction.errors import InductionError
from induction.study.corpora import Corpus
from induction.study.evaluation import Evaluation, Probes, Prompts, Repetitions
from induction.study.stages import STAGES
from induction.tables.manifests import CORPUS_FIELDS
from induction.tables.tensors import read_tensors

SOURCE = {"package": "numpy"}


def runs_of(tokens):
    """All runs of a document's or of the training tokens, start tokens within none."""
    runs = [tuple(tokens[at : at + N_TOKENS]) for at in range(len(tokens) - N_TOKENS + 1)]
    return [run for run in runs if 0 not in run]


def split_of(documents, path):
    """Documents without their start tokens, as the build has them."""
    tokens = [np.concatenate([[0], document]).astype("<u2") for document in documents]
    path.write_bytes(np.concatenate(tokens).tobytes())
    lengths = np.array([len(one) for one in tokens])
    none = np.zeros(len(documents), dtype=bool)
    return Split(path, np.dtype("<u2"), np.zeros_like(lengths), lengths, lengths, ~none, dropped=none)


@pytest.fixture
def documents():
    """Training tokens, and held-out documents that share with them nothing, a part, a run too short, and everything."""
    rng = np.random.default_rng(0)
    training = [rng.integers(1, 300, n) for n in (4000, 70, 2500, 49)]
    new = lambda n: rng.integers(1, 300, n)  # noqa: E731
    held_out = [
        new(500),
        np.concatenate([new(100), training[0][700:900], new(60)]),
        np.concatenate([new(80), training[2][:49], new(80)]),
        training[1],
        training[3],
        new(30),
        np.concatenate([training[0][-30:], training[1][:30]]),  # across two documents: no run of either
        np.concatenate([training[2][1000:2400], new(1000)]),
    ]
    return np.concatenate([np.concatenate([[0], document]) for document in training]), held_out


@pytest.mark.parametrize("n_at_once", [1, 30, 49, 50, 51, 777, 10**6])
@pytest.mark.parametrize("block", [64, 2**15])
def test_runs_are_found_as_a_set_finds_them(documents, tmp_path, monkeypatch, n_at_once, block):
    monkeypatch.setattr(overlap, "_BLOCK", block)
    training, held_out = documents
    runs = HeldOutRuns(split_of(held_out, tmp_path / "held_out"), 300)
    for start in range(0, len(training), n_at_once):
        runs.look_for(training[start : start + n_at_once])
    found = runs.overlap()
    trained = set(runs_of(training))
    for number, document in enumerate(held_out):
        asked = runs_of(document)
        assert found.n_runs[number] == len(asked)
        assert found.n_found[number] == sum(run in trained for run in asked)
    assert found.shares.tolist()[3:7] == [1, 0, 0, 0]
    assert found.shares[7] == 1351 / 2351, "the runs within 1,400 tokens, of those of 2,400"
    every = np.ones(len(held_out), dtype=bool)
    assert found.share_of(every) == (151 + 21 + 1351) / (451 + 311 + 160 + 21 + 11 + 2351)


def test_of_too_many_runs_a_sample_by_hash_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(overlap, "MOST_RUNS", 1000)
    rng = np.random.default_rng(1)
    training = rng.integers(1, 300, 40_000)
    held_out = [np.concatenate([training[:5000], rng.integers(1, 300, 5000)]), training[9000:15_000]]
    runs = HeldOutRuns(split_of(held_out, tmp_path / "held_out"), 300)
    runs.look_for(training)
    found = runs.overlap()
    # 15,902 runs, of which 1 in 16 is taken: whole documents are found whole, half ones within 4 standard errors
    n_expected = np.array([9951, 5951]) / 16
    assert (np.abs(found.n_runs - n_expected) < 4 * np.sqrt(n_expected)).all()
    assert found.n_found[1] == found.n_runs[1]
    assert abs(found.shares[0] - 4951 / 9951) < 4 * np.sqrt(0.25 / found.n_runs[0])


def near_duplicates():
    """Texts, some of which are another one with a few words more: in half of the pairs one of the two is held out."""
    originals = random_texts(5, 60, n_words=400)
    return originals + [f"{text} and some words more {n}" for n, text in enumerate(originals[:30])]


@pytest.fixture
def two(tmp_path):
    """One corpus, built with all held-out documents and without those that overlap by more than half."""
    source = write_texts(tmp_path / "texts", near_duplicates())
    kept = build(tmp_path / "all", source)
    dropped = build(tmp_path / "dropped", source, max_overlap=0.5)
    return kept, dropped, tmp_path


def test_documents_that_overlap_are_dropped_and_nothing_else_changes(two):
    kept, dropped, folder = two
    for name in ("tokenizer.json", "train-00000.npy", "token_counts.npy"):
        assert (folder / "all" / name).read_bytes() == (folder / "dropped" / name).read_bytes()
    assert dropped["shards"] == kept["shards"]
    training, _ = stored_tokens(folder / "all")
    trained = set(runs_of(training.tolist()))
    tokens, offsets = (np.load(folder / "all" / f"held_out{what}.npy") for what in ("", "_offsets"))
    texts, left, n_over, n_found, n_runs = decoded(folder / "all")[1], [], 0, 0, 0
    for text, start, stop in zip(texts, offsets[:-1], offsets[1:], strict=True):
        asked = runs_of(tokens[start + 1 : stop].tolist())
        found = sum(run in trained for run in asked)
        n_over += 2 * found > len(asked)
        left += [text] if 2 * found <= len(asked) else []
        n_found, n_runs = n_found + found, n_runs + len(asked)
    assert 0 < n_over < len(texts)
    assert decoded(folder / "dropped")[1] == left
    told = kept["overlap"]
    assert told["n_tokens"] == 50
    assert told["share"] == told["share_before_dropping"] == n_found / n_runs
    assert told["n_documents_above_half"] == n_over
    assert told["n_dropped_documents"] == told["n_dropped_tokens"] == 0
    told = dropped["overlap"]
    assert told["share_before_dropping"] == n_found / n_runs > told["share"]
    assert told["n_documents_above_half"] == 0
    assert told["n_dropped_documents"] == n_over
    assert told["n_dropped_tokens"] == kept["n_held_out_tokens"] - dropped["n_held_out_tokens"]
    assert dropped["n_held_out_documents"] == len(left)
    assert dropped["n_unused_documents"] == 0


def test_what_training_reads_is_known_by_itself(two):
    kept, dropped, folder = two
    assert kept["training_fingerprint"] == kept["fingerprint"]
    assert dropped["training_fingerprint"] == kept["fingerprint"] != dropped["fingerprint"]
    opened = open_corpus(folder / "dropped")
    assert (opened.fingerprint, opened.training_fingerprint) == (dropped["fingerprint"], kept["fingerprint"])
    evaluation(folder / "dropped", Evaluation(n_examples=2, n_tokens=30), folder / "e.safetensors")
    _, about = read_tensors(folder / "e.safetensors", ("tokens", "random_index"), "evaluation set")
    assert (about["corpus"], about["training"]) == (dropped["fingerprint"], kept["fingerprint"])


def test_a_corpus_of_before_has_one_fingerprint_for_both(two):
    kept, _, folder = two
    kept = {name: value for name, value in kept.items() if name in CORPUS_FIELDS}
    (folder / "all/manifest.json").write_text(json.dumps(kept))
    opened = open_corpus(folder / "all")
    assert opened.training_fingerprint == opened.fingerprint == kept["fingerprint"]


def test_all_that_is_drawn_from_a_corpus_belongs_to_the_models_trained_on_it(two):
    _, dropped, folder = two
    corpus = folder / "dropped"
    assert dropped["training_fingerprint"] != dropped["fingerprint"]
    drawn = {name: folder / f"{name}.safetensors" for name in ("evaluation", "probes", "prompts", "token_classes")}
    evaluation(corpus, Evaluation(n_examples=2, n_tokens=30), drawn["evaluation"])
    probes(corpus, Probes(n_sequences=2, period=8), drawn["probes"])
    prompts(corpus, Prompts(n_prompts=2, n_lines=8), 10_000, drawn["prompts"])
    token_classes(corpus, drawn["evaluation"], Repetitions(n_passages=1, passage_tokens=8), drawn["token_classes"])
    of_corpus = {name for name, stage in STAGES.items() if stage.per == "corpus"} - {"corpus"}
    assert of_corpus == set(drawn)
    for path in (*drawn.values(), corpus / "manifest.json"):
        assert origin_of(path).corpora == (dropped["training_fingerprint"],), path


def test_the_mixture_of_held_out_documents_is_made_of_what_is_left(tmp_path):
    one = write_texts(tmp_path / "a", near_duplicates())
    two = write_texts(tmp_path / "b", random_texts(6, 60, n_words=400))
    sources = ({**one, "weight": 1}, {**two, "weight": 1})
    manifest = build(tmp_path / "corpus", *sources, max_overlap=0.5)
    tokens = [source["n_held_out_tokens"] for source in manifest["sources"]]
    longest = np.diff(np.load(tmp_path / "corpus/held_out_offsets.npy")).max()
    assert abs(tokens[0] - tokens[1]) < 2 * longest
    assert manifest["overlap"]["n_dropped_documents"] > 0
    n_all = manifest["n_documents"] + manifest["n_held_out_documents"] + manifest["n_unused_documents"]
    assert n_all + manifest["overlap"]["n_dropped_documents"] == 90 + 60


def test_nothing_left_is_told(tmp_path):
    texts = [text for text in random_texts(5, 30, n_words=400) if len(text) > 1000]
    source = write_texts(tmp_path / "texts", [f"{text} {n}" for text in texts for n in range(9)])
    with pytest.raises(
        InductionError, match=r"corpora\.small: max_overlap: of all \d+ held-out documents too much .* permits 0\.1\)"
    ):
        build(tmp_path / "corpus", source, max_overlap=0.1)


def test_a_corpus_that_keeps_all_has_the_configuration_that_it_had():
    assert "max_overlap" not in Corpus(sources=[SOURCE]).model_dump(mode="json")
    assert Corpus(sources=[SOURCE], max_overlap=0.0).model_dump(mode="json")["max_overlap"] == 0.0
