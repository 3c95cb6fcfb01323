"""The prompts of the abstract task: lines such as `June grape: 1`, whose label depends on the kinds of both words.

Axes: P prompt, L line, T position.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from induction.corpus.shards import TOKENIZER, open_corpus
from induction.corpus.tokenizer import read_tokenizer
from induction.errors import InductionError
from induction.files import fingerprint
from induction.study.evaluation import Prompts
from induction.tables.tensors import read_tensors, write_tensors

MONTHS = "January February March April May June July August September October November December"
COLORS = "red blue green black white yellow brown purple pink gray violet gold silver crimson beige cyan"
ANIMALS = "dog cat horse cow pig sheep mouse bear lion tiger wolf fox goat duck frog snake"
FRUITS = "apple pear plum grape peach cherry lemon mango melon fig banana lime papaya apricot quince guava"
"""Words of each category; none is in two of them."""
N_KINDS = 4
"""Month animal, month fruit, color animal, color fruit: kinds 0 to 3, and the label of each."""
LEAST_LINES = 2 * N_KINDS
"""With fewer lines, some kind has no earlier line to look back to."""

_LEAVE_OUT = "remove case_studies from the figures of the study (claim 20 is then inconclusive)"
"""What to do where the task cannot be posed: without that figure it is not measured."""

_ARRAYS = ("tokens", "colons", "labels", "ends", "kinds")


@dataclass(frozen=True)
class PromptSet:
    """Prompts of the same number of lines; places are 0-based and count the start token."""

    tokens: NDArray[np.int32]
    """A start token, the lines, and start tokens after the end of a prompt shorter than the longest, [P, T]."""
    colons: NDArray[np.int64]
    """Place of each line's last token before its label: the one that the label is predicted from, [P, L]."""
    labels: NDArray[np.int64]
    """Place of each line's label, [P, L]."""
    ends: NDArray[np.int64]
    """First place of each line, and one past the last line, [P, L + 1]."""
    kinds: NDArray[np.int64]
    """0: month animal, 1: month fruit, 2: color animal, 3: color fruit, [P, L]."""
    n_lines: int
    fingerprint: str


def prompts(folder: Path, settings: Prompts, n_tokens: int, out: Path) -> None:
    """Write prompts in a corpus's vocabulary, with the places of their lines.

    A prompt has as many lines of each kind as of the others (or one fewer), in random order, and no word comes again
    before all of its category have been shown: what a head cannot find by the word alone it must find by its kind.

    Args:
        folder: the corpus.
        settings: prompts, lines of each, and the seed; all prompts have fewer lines where one would not fit.
        n_tokens: greatest length of a prompt, start token included.
        out: the safetensors file.

    Raises:
        InductionError: not even 8 lines fit, the vocabulary has no tokens for labels, or the corpus is not whole.

    Source: Olsson et al. 2022, argument 4, pattern-matching heads; words, their order and the balance are ours.
    """
    corpus = open_corpus(folder)
    writer = _Writer.of(folder)
    for n_lines in range(settings.n_lines, LEAST_LINES - 1, -1):
        arrays = _drawn(writer, settings, n_lines, corpus.start_token)
        longest = arrays["tokens"].shape[1]
        if longest <= n_tokens:
            break
    else:
        raise InductionError(
            f"{folder}: the longest of {settings.n_prompts} prompts of {LEAST_LINES} lines has {longest} tokens in "
            f"this vocabulary of {corpus.vocab_size}; evaluation.n_tokens permits {n_tokens}. Raise "
            f"evaluation.n_tokens to {longest} or more, or corpora.{corpus.name}.vocab_size, or {_LEAVE_OUT}."
        )
    about = {
        "corpus": corpus.fingerprint,
        "settings": settings.model_dump(mode="json"),
        "n_tokens": n_tokens,
        "n_lines": n_lines,
        "labels": writer.labels,
        "sha256": sha256(b"".join(arrays[name].tobytes() for name in _ARRAYS)).hexdigest(),
    }
    described = {**about, "fingerprint": fingerprint(about), "training": corpus.training_fingerprint}
    write_tensors(out, arrays, described)


def read_prompts(path: Path) -> PromptSet:
    """Read the prompts.

    Raises:
        InductionError: the file is missing or does not hold whole prompts.
    """
    tensors, about = read_tensors(path, _ARRAYS, "set of prompts")
    return PromptSet(**tensors, n_lines=about["n_lines"], fingerprint=about["fingerprint"])


class _Line(NamedTuple):
    """A line's tokens; the label is the one at `label`, predicted from the one before."""

    tokens: list[int]
    label: int


@dataclass(frozen=True)
class _Writer:
    """Lines in a vocabulary: words, label and line end are encoded apart, so that no token spans two of them."""

    tokenizer: Tokenizer
    labels: tuple[str, ...]
    """Text of the label of each kind: with the space before it where that is one token, else the digit alone."""

    @classmethod
    def of(cls, folder: Path) -> "_Writer":
        tokenizer = read_tokenizer(folder)
        for space in (" ", ""):
            labels = tuple(f"{space}{kind}" for kind in range(N_KINDS))
            encoded = [tuple(tokenizer.encode(label, add_special_tokens=False).ids) for label in labels]
            if all(len(ids) == 1 for ids in encoded) and len(set(encoded)) == N_KINDS:
                return cls(tokenizer, labels)
        raise InductionError(
            f"{folder / TOKENIZER}: labels of the abstract task must be one token each, no two the same, and "
            f"{', '.join(labels)} are not in this vocabulary. {_LEAVE_OUT.capitalize()}."
        )

    def line(self, first: str, second: str, kind: int) -> _Line:
        label = self.labels[kind]
        before = self._encoded(f"{first} {second}:" if label.startswith(" ") else f"{first} {second}: ")
        return _Line([*before, *self._encoded(label), *self._encoded("\n")], len(before))

    def _encoded(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)


def _drawn(writer: _Writer, settings: Prompts, n_lines: int, start_token: int) -> dict[str, NDArray[np.generic]]:
    """Draw all prompts with so many lines; see `PromptSet`."""
    rng = np.random.default_rng(settings.seed % 2**64)
    shape = (settings.n_prompts, n_lines)
    colons, kinds = np.empty(shape, np.int64), np.empty(shape, np.int64)
    ends = np.ones((settings.n_prompts, n_lines + 1), np.int64)
    texts: list[list[int]] = []
    for prompt in range(settings.n_prompts):
        tokens = [start_token]
        kinds[prompt] = rng.permutation(np.arange(n_lines) % N_KINDS)
        months, colors, animals, fruits = (_endless(rng, words) for words in (MONTHS, COLORS, ANIMALS, FRUITS))
        for index, kind in enumerate(kinds[prompt].tolist()):
            first, second = next(colors if kind >= 2 else months), next(fruits if kind % 2 else animals)
            line = writer.line(first, second, kind)
            colons[prompt, index] = len(tokens) + line.label - 1
            tokens += line.tokens
            ends[prompt, index + 1] = len(tokens)
        texts.append(tokens)
    padded = np.full((len(texts), max(map(len, texts))), start_token, np.int32)
    for row, tokens in zip(padded, texts, strict=True):
        row[: len(tokens)] = tokens
    return {"tokens": padded, "colons": colons, "labels": colons + 1, "ends": ends, "kinds": kinds}


def _endless(rng: np.random.Generator, words: str) -> Iterator[str]:
    """Yield all words in random order, and again in another."""
    while True:
        yield from rng.permutation(words.split()).tolist()
