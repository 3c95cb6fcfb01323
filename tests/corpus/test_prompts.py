"""The prompts of the abstract task."""

import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from corpus.small_corpora import build, random_texts, resealed, write_texts
from induction.corpus.prompts import ANIMALS, COLORS, FRUITS, MONTHS, prompts, read_prompts
from induction.errors import InductionError
from induction.study.evaluation import Prompts

CATEGORIES = [set(words.split()) for words in (MONTHS, COLORS, ANIMALS, FRUITS)]
LINE = re.compile(r"([A-Za-z]+) ([a-z]+): ([0-3])\n")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Two corpora: digits with a space before them are one token in one and two in the other."""
    folder = tmp_path_factory.mktemp("prompts")
    texts = [f"{text} : 0 1 2 3 : 3 2 1 0 June grape" for text in random_texts(1, 60)]
    for name, vocab_size in (("spaced", 420), ("bytes", 258)):
        build(folder / name, write_texts(folder / f"{name}-texts", texts), vocab_size=vocab_size)
    return folder


def draw(folder, out, n_tokens=2000, **fields):
    prompts(folder, Prompts(**{"n_prompts": 6, **fields}), n_tokens, out)
    return read_prompts(out)


def texts_of(folder, drawn, prompt):
    """The lines of a prompt as text, decoded line by line from the places given."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    row = drawn.tokens[prompt].tolist()
    return [tokenizer.decode(row[first:last]) for first, last in pairwise(drawn.ends[prompt].tolist())]


@pytest.mark.parametrize(("name", "label_text"), [("spaced", " {}"), ("bytes", "{}")])
def test_every_line_says_what_the_arrays_say_of_it(corpora, tmp_path, name, label_text):
    folder = corpora / name
    drawn = draw(folder, tmp_path / "out")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert drawn.tokens.dtype == np.int32
    assert drawn.kinds.shape == drawn.labels.shape == drawn.colons.shape == (6, 28)
    assert drawn.ends.shape == (6, 29)
    assert drawn.n_lines == 28
    for prompt in range(6):
        lines = texts_of(folder, drawn, prompt)
        for index, text in enumerate(lines):
            first, second, label = LINE.fullmatch(text).groups()
            kind = 2 * (first in CATEGORIES[1]) + (second in CATEGORIES[3])
            assert (first in CATEGORIES[kind >= 2], second in CATEGORIES[2 + kind % 2]) == (True, True)
            assert int(label) == kind == drawn.kinds[prompt, index]
            place = drawn.labels[prompt, index]
            assert tokenizer.decode([drawn.tokens[prompt, place]]) == label_text.format(label)
            assert drawn.colons[prompt, index] == place - 1
            before = tokenizer.decode(drawn.tokens[prompt, drawn.ends[prompt, index] : place].tolist())
            assert before + label_text.format(label) + "\n" == text
        # words, label and line end were encoded apart; as one text they give the same tokens in a corpus's vocabulary
        together = tokenizer.encode("".join(lines), add_special_tokens=False).ids
        assert together == drawn.tokens[prompt, 1 : drawn.ends[prompt, -1]].tolist()


def test_a_start_token_first_and_as_padding(corpora, tmp_path):
    drawn = draw(corpora / "spaced", tmp_path / "out")
    assert (drawn.tokens[:, 0] == 0).all()
    assert (drawn.ends[:, 0] == 1).all()
    place = np.arange(drawn.tokens.shape[1])
    inside = (place > 0) & (place < drawn.ends[:, -1:])
    assert (drawn.tokens[inside] != 0).all()
    assert (drawn.tokens[~inside] == 0).all()
    assert drawn.ends[:, -1].max() == drawn.tokens.shape[1] > drawn.ends[:, -1].min()


def test_no_word_is_in_two_categories():
    assert sum(map(len, CATEGORIES)) == len(set().union(*CATEGORIES))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(-3, 2**40), n_lines=st.integers(8, 28))
def test_kinds_are_balanced_and_words_come_again_only_when_all_have_been_shown(corpora, tmp_path, seed, n_lines):
    drawn = draw(corpora / "spaced", tmp_path / "out", seed=seed, n_lines=n_lines, n_prompts=3)
    for prompt in range(3):
        numbers = np.bincount(drawn.kinds[prompt], minlength=4)
        assert numbers.sum() == n_lines
        assert numbers.max() - numbers.min() <= 1
        words = " ".join(texts_of(corpora / "spaced", drawn, prompt)).replace(":", "").split()
        for category in CATEGORIES:
            shown = [word for word in words if word in category]
            assert len(set(shown[: len(category)])) == min(len(shown), len(category))


def test_every_order_of_kinds_is_drawn_alike(corpora, tmp_path):
    """The line before is of the same kind as often as an even draw without replacement says: 1 in 7 for 8 lines."""
    drawn = draw(corpora / "spaced", tmp_path / "out", n_lines=8, n_prompts=400)
    alike = (drawn.kinds[:, 1:] == drawn.kinds[:, :-1]).mean()
    assert alike == pytest.approx(1 / 7, abs=5 * np.sqrt(1 / 7 * 6 / 7 / (400 * 7)))


def test_as_many_lines_as_fit_in_every_prompt(corpora, tmp_path):
    folder = corpora / "spaced"
    n_tokens = draw(folder, tmp_path / "whole", n_lines=20).tokens.shape[1]
    fits = draw(folder, tmp_path / "fits", n_lines=28, n_tokens=n_tokens)
    assert (fits.n_lines, fits.tokens.shape[1]) == (20, n_tokens), "the 20 lines drawn are the same ones"
    shorter = draw(folder, tmp_path / "shorter", n_lines=28, n_tokens=n_tokens - 1)
    assert 8 <= shorter.n_lines == shorter.kinds.shape[1] < 20
    assert shorter.tokens.shape[1] <= n_tokens - 1


def test_too_short_for_eight_lines(corpora, tmp_path):
    folder = corpora / "bytes"
    needed = draw(folder, tmp_path / "eight", n_lines=8).tokens.shape[1]
    assert draw(folder, tmp_path / "just", n_tokens=needed).n_lines == 8
    message = (
        rf"6 prompts of 8 lines has {needed} tokens in this vocabulary of 258; evaluation\.n_tokens permits "
        rf"{needed - 1}\. Raise evaluation\.n_tokens to {needed} or more, or corpora\.small\.vocab_size, or "
        r"remove case_studies from the figures of the study \(claim 20 is then inconclusive\)\."
    )
    with pytest.raises(InductionError, match=message):
        draw(folder, tmp_path / "out", n_tokens=needed - 1)
    assert not (tmp_path / "out").exists()


def test_same_seed_same_bytes_other_seed_other_prompts(corpora, tmp_path):
    one, same, other = (draw(corpora / "spaced", tmp_path / n, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert (one.kinds != other.kinds).any()


# --- other vocabularies -----------------------------------------------------------------------------------------


def with_tokenizer(corpora, folder, tokenizer):
    shutil.copytree(corpora / "spaced", folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return resealed(folder)


def test_a_vocabulary_that_joins_colon_and_label(corpora, tmp_path):
    """Its tokens span words and line ends; places are known all the same, since pieces are encoded apart."""
    spaced = [f"Ġ{digit}" for digit in "0123"]
    merges = [
        *(("Ġ", digit) for digit in "0123"),
        *((":", label) for label in spaced),
        *((f":{label}", "Ċ") for label in spaced),
    ]
    pieces = ["<|start|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    assert tokenizer.encode("x: 0\n").tokens == ["x", ":Ġ0Ċ"]
    folder = with_tokenizer(corpora, tmp_path / "joining", tokenizer)
    drawn = draw(folder, tmp_path / "out")
    label_of = {}
    for prompt in range(6):
        for label, colon, kind in zip(drawn.labels[prompt], drawn.colons[prompt], drawn.kinds[prompt], strict=True):
            token = int(drawn.tokens[prompt, label])
            assert label_of.setdefault(int(kind), token) == token
            assert tokenizer.id_to_token(int(drawn.tokens[prompt, colon])).endswith(":")
    assert [tokenizer.id_to_token(label_of[kind]) for kind in range(4)] == spaced


def test_a_vocabulary_without_tokens_for_the_labels(corpora, tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "0": 1}, unk_token="<unk>"))
    folder = with_tokenizer(corpora, tmp_path / "words", tokenizer)
    with pytest.raises(
        InductionError, match=r"tokenizer\.json: labels .* and 0, 1, 2, 3 are not in .* Remove case_studies from"
    ):
        draw(folder, tmp_path / "out")


def test_files_that_are_missing_or_not_whole(corpora, tmp_path):
    with pytest.raises(InductionError, match="out: this set of prompts does not exist"):
        read_prompts(tmp_path / "out")
    draw(corpora / "spaced", tmp_path / "out")
    content = (tmp_path / "out").read_bytes()
    (tmp_path / "out").write_bytes(content[:-5])
    with pytest.raises(InductionError, match="not a whole set of prompts"):
        read_prompts(tmp_path / "out")
    folder = shutil.copytree(corpora / "spaced", tmp_path / "broken")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(InductionError, match=r"broken/tokenizer\.json: not a whole tokenizer .* snakemake --force"):
        draw(folder, tmp_path / "other")
