"""Classes of tokens and passages, against slow loops over the text; texts of tokens, against the tokenizer."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tokenizers import Tokenizer

from corpus.small_corpora import build, random_texts, write_texts
from induction.corpus.evaluation import evaluation, read_evaluation
from induction.corpus.shards import TOKENIZER
from induction.corpus.token_classes import (
    TokenClasses,
    choose_passages,
    classes_of,
    latest_copy,
    read_classed_examples,
    read_token_classes,
    texts_of,
    token_classes,
)
from induction.errors import InductionError
from induction.study.evaluation import Evaluation, Repetitions

OTHER, CONTINUED, BROKEN = range(3)
N = 24
SETTINGS = Repetitions(prefix=1, n_passages=3, passage_tokens=8)

few_words = arrays(np.int32, st.tuples(st.integers(1, 3), st.integers(2, 14)), elements=st.integers(1, 4))


def by_loop(row, prefix):
    """Class of each token of one example, and how far back its origin stands, looked up occurrence by occurrence."""
    classes, back = [], []
    for token in range(len(row)):
        before = row[token - prefix : token]
        places = [at for at in range(prefix, token) if row[at - prefix : at] == before]
        copies = [at for at in places if row[at] == row[token]]
        classes.append(CONTINUED if copies else BROKEN if places else OTHER)
        back.append(token - (copies or places)[-1] if places else 0)
    return classes, back


def classed(rows, prefix):
    return classes_of(np.array(rows, dtype=np.int32), prefix)[0].tolist()


@given(few_words, st.integers(1, 5))
def test_classes_and_origins_are_those_of_a_loop(tokens, prefix):
    classes, back = classes_of(tokens, prefix)
    assert classes.dtype == np.uint8
    expected = [by_loop(row, prefix) for row in tokens.tolist()]
    assert classes.tolist() == [of_row[0] for of_row in expected]
    assert back.tolist() == [of_row[1] for of_row in expected]


@given(few_words, st.integers(1, 16))
def test_the_latest_copy_is_that_of_a_loop(tokens, n):
    def distance(row, token):
        ends = [end for end in range(n - 1, token) if row[end - n + 1 : end + 1] == row[token - n + 1 : token + 1]]
        return token - ends[-1] if ends else 0

    expected = [[distance(row, token) for token in range(len(row))] for row in tokens.tolist()]
    assert latest_copy(tokens, n).tolist() == expected


def test_numbers_of_a_large_vocabulary_and_many_tokens_do_not_overflow():
    period = 2**31 - 1 - np.arange(40, dtype=np.int32)
    back = latest_copy(np.tile(period, (2, 3)), 30)
    assert (back[:, :69] == 0).all()
    assert (back[:, 69:] == 40).all()


def test_classes_by_hand():
    a, b, c, d = 1, 2, 3, 4
    text = [a, b, c, d, a, b, c, a, b, d, a, b, d, a, b, c]
    # "a b" is followed by c, c (continued), d (broken), d and c (continued); "b c" by d, a (broken); "d a" by b three
    # times, "b d" by a twice (continued).
    expected = [OTHER] * 16
    for token in (6, 11, 12, 13, 14, 15):
        expected[token] = CONTINUED
    expected[9] = expected[7] = BROKEN
    assert classed([text], 2) == [expected]
    assert classes_of(np.array([text]), 2)[1].tolist() == [[0] * 6 + [4, 4, 0, 3, 0, 6, 3, 3, 3, 9]]


def test_any_earlier_occurrence_of_the_prefix_can_be_continued():
    x, y, z = 1, 2, 3
    classes, back = classes_of(np.array([[x, y, x, z, x, y, x, x]]), 1)
    assert classes.tolist() == [[OTHER, OTHER, OTHER, BROKEN, OTHER, CONTINUED, CONTINUED, BROKEN]]
    assert back.tolist() == [[0, 0, 0, 2, 0, 4, 4, 2]]


def test_a_run_of_one_token_repeats_itself_though_its_prefixes_overlap():
    assert classed([[7, 7, 7, 7, 5]], 2) == [[OTHER, OTHER, OTHER, CONTINUED, BROKEN]]


def test_examples_do_not_see_each_other_and_texts_shorter_than_the_prefix_are_other():
    assert classed([[1, 2, 3], [1, 2, 3]], 1) == [[OTHER] * 3] * 2
    assert classed([[1, 1, 1]], 3) == [[OTHER] * 3] == classed([[1, 1, 1]], 9)


# --- passages ---------------------------------------------------------------------------------------------------


def passages_by_loop(tokens, prefix, n_passages, size):
    """Score each passage by counting in it what a reader of it alone would call continued and broken."""
    scored = []
    for example, row in enumerate(tokens.tolist()):
        classes, back = by_loop(row, prefix)
        for begin in range(len(row) - size + 1):
            inside = range(begin, begin + size)
            seen = [classes[token] for token in inside if back[token] and token - back[token] - prefix >= begin]
            score = min(seen.count(CONTINUED), seen.count(BROKEN))
            scored.append((example, begin, score, len(set(row[begin : begin + size]))))
    median = np.median([distinct for *_, distinct in scored])
    best = {}
    for example, begin, score, distinct in scored:
        value = score if distinct >= median else -1
        if example not in best or value > best[example][0]:
            best[example] = (value, begin)
    ranked = sorted(best, key=lambda example: (-best[example][0], example))
    return [[example, best[example][1] + 1] for example in ranked[:n_passages]]


@given(
    arrays(np.int32, st.tuples(st.integers(1, 4), st.integers(8, 20)), elements=st.integers(1, 5)),
    st.integers(1, 3),
    st.integers(3, 8),
    st.integers(1, 4),
)
def test_passages_are_those_of_a_loop(tokens, prefix, size, n_passages):
    classes, back = classes_of(tokens, prefix)
    chosen = choose_passages(tokens, classes, back + prefix, n_passages, size)
    assert chosen.tolist() == passages_by_loop(tokens, prefix, n_passages, size)


def test_the_planted_passage_is_chosen_and_the_poorer_one_is_not():
    tokens = np.tile(np.arange(100, 160, dtype=np.int32) // 2, (5, 1))  # x x y y z z: nothing is continued
    tokens[2, 20:40] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2, 3, 12, 4, 5, 13, 8, 9]
    tokens[4, 10:30] = [1, 2, 1, 3] * 5  # more of both kinds, of three tokens
    classes, back = classes_of(tokens, 1)
    chosen = choose_passages(tokens, classes, back + 1, 1, 20)
    assert chosen.tolist() == passages_by_loop(tokens, 1, 1, 20)
    example, first = chosen[0].tolist()
    assert example == 2
    assert first - 1 <= 20 < first - 1 + 20


# --- the stage --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def examples(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("examples") / "evaluation.safetensors"
    evaluation(small, Evaluation(n_examples=40, n_tokens=N), path)
    return path


def make(small, examples, out, **fields):
    token_classes(small, examples, SETTINGS.model_copy(update=fields), out)
    return read_token_classes(out)


def test_the_stage_classes_the_text_of_the_examples_without_their_start_tokens(small, examples, tmp_path):
    made = make(small, examples, tmp_path / "classes")
    text = read_evaluation(examples).tokens[:, 1:]
    assert made.classes.shape == (40, N)
    assert made.classes.dtype == np.uint8
    assert made.classes.tolist() == [by_loop(row, 1)[0] for row in text.tolist()]
    assert set(made.classes.ravel().tolist()) == {OTHER, CONTINUED, BROKEN}
    assert made.passages.tolist() == passages_by_loop(text, 1, 3, 8)
    assert made.passage_tokens == 8
    assert len(set(made.passages[:, 0].tolist())) == 3


def test_same_settings_same_bytes_and_a_fingerprint_of_what_they_are_made_of(small, examples, tmp_path):
    one, same, other = (make(small, examples, tmp_path / name, prefix=p) for name, p in (("a", 1), ("b", 1), ("c", 2)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert one.fingerprint == same.fingerprint != other.fingerprint
    fewer = tmp_path / "fewer.safetensors"
    evaluation(small, Evaluation(n_examples=39, n_tokens=N), fewer)
    assert make(small, fewer, tmp_path / "d").fingerprint != one.fingerprint


def test_texts_are_the_tokenizers_and_stray_bytes_are_legible(small, examples, tmp_path):
    texts = make(small, examples, tmp_path / "classes").texts
    tokenizer = Tokenizer.from_file(str(small / TOKENIZER))
    assert len(texts) == tokenizer.get_vocab_size() == 400
    assert texts[0] == "<|start|>"
    whole = {token: tokenizer.decode([token]) for token in range(1, 400)}
    whole = {token: text for token, text in whole.items() if "\ufffd" not in text}
    assert len(whole) > 200
    assert {token: texts[token] for token in whole} == whole
    single = {chr(byte) if byte < 128 else f"\\x{byte:02x}" for byte in range(256)}
    alphabet = [token for text, token in tokenizer.get_vocab().items() if len(text) == 1]
    assert sorted(texts[token] for token in alphabet) == sorted(single)


def test_bytes_that_straddle_tokens_are_put_together_where_they_are_whole():
    tokenizer = Tokenizer.from_str(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [],
                "model": {"type": "BPE", "vocab": {"âĤ": 2, "âĤ¬": 0, "ĠâĤ¬x": 1}, "merges": []},
            }
        )
    )
    assert texts_of(tokenizer) == ["€", " €x", "\\xe2\\x82"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("prefix", N, rf"repetitions\.prefix is {N}; this evaluation set has {N - 1} tokens before the last"),
        ("n_passages", 41, r"repetitions\.n_passages is 41; this evaluation set has 40 examples\. Lower"),
        ("passage_tokens", N + 1, rf"repetitions\.passage_tokens is {N + 1}; this evaluation set has {N} tokens an"),
    ],
)
def test_settings_that_the_examples_cannot_serve(small, examples, tmp_path, field, value, message):
    with pytest.raises(InductionError, match=message):
        make(small, examples, tmp_path / "out", **{field: value})
    assert not (tmp_path / "out").exists()
    assert make(small, examples, tmp_path / "out", **{field: value - 1}).classes.shape == (40, N)


def test_examples_of_another_corpus(examples, tmp_path):
    build(tmp_path / "other", write_texts(tmp_path / "texts", random_texts(9, 60)))
    with pytest.raises(InductionError, match=r"evaluation\.safetensors: drawn from a corpus \w{16}, and .*other is \w"):
        token_classes(tmp_path / "other", examples, SETTINGS, tmp_path / "out")


def test_classes_of_another_evaluation_set_of_the_same_shape(small, examples, tmp_path):
    path, other = tmp_path / "classes.safetensors", tmp_path / "other.safetensors"
    made = make(small, examples, path)
    both = read_classed_examples(examples, path)
    assert both[0].fingerprint == both[1].evaluation == made.evaluation
    evaluation(small, Evaluation(n_examples=40, n_tokens=N, seed=1), other)
    assert read_evaluation(other).tokens.shape == both[0].tokens.shape
    with pytest.raises(InductionError, match=r"classes of an evaluation set \w{16}, and .*other\.saf\w+ is \w{16}\."):
        read_classed_examples(other, path)


def test_files_that_are_missing_or_not_whole(small, examples, tmp_path):
    path = tmp_path / "classes.safetensors"
    with pytest.raises(InductionError, match=r"classes\.safetensors: this set of token classes does not exist"):
        read_token_classes(path)
    make(small, examples, path)
    content = path.read_bytes()
    for kept in (content[:-5], content[:20], b"", examples.read_bytes()):
        path.write_bytes(kept)
        with pytest.raises(InductionError, match=r"not a whole set of token classes .* snakemake --force .*classes"):
            read_token_classes(path)


def test_a_tokenizer_that_is_missing_or_not_whole(texts, tmp_path):
    build(tmp_path / "corpus", write_texts(tmp_path / "texts", texts))
    examples, tokenizer = tmp_path / "evaluation.safetensors", tmp_path / "corpus" / TOKENIZER
    evaluation(tmp_path / "corpus", Evaluation(n_examples=20, n_tokens=N), examples)
    tokenizer.write_text(tokenizer.read_text()[:-50])
    for _ in range(2):
        with pytest.raises(InductionError, match=r"tokenizer\.json: not a whole tokenizer .* snakemake --force"):
            make(tmp_path / "corpus", examples, tmp_path / "out")
        tokenizer.unlink(missing_ok=True)


def test_a_stretch_is_where_most_is_continued():
    classes = np.zeros((2, 30), dtype=np.uint8)
    classes[1, [3, 4, 12, 13, 14, 20, 28, 29]] = CONTINUED
    classes[1, 15:19] = BROKEN
    found = TokenClasses(classes, np.array([[1, 5], [0, 1]]), 20, (), "", "")
    # The passage is tokens 5 to 24; of its runs of four the first with three continued tokens begins at token 12.
    assert found.stretch(4) == (1, 12)
    assert found.stretch(20) == found.stretch(40) == (1, 5)
