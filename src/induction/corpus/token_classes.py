"""Which tokens of the evaluation set continue a repetition, which break one, and passages that show both.

Suffix letters: E example, T token of an example (its start token left out), W place where a passage can begin,
P passage.
"""

from dataclasses import dataclass
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from induction.corpus.evaluation import EXAMPLE_ARRAYS, EvaluationSet, read_evaluation
from induction.corpus.shards import open_corpus
from induction.corpus.tokenizer import read_tokenizer
from induction.errors import InductionError
from induction.files import fingerprint
from induction.study.evaluation import Repetitions
from induction.tables.repetitions import BROKEN, CLASSES, CONTINUED, OTHER
from induction.tables.tensors import read_tensors, write_tensors

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TokenClasses:
    r"""The classes of all tokens of an evaluation set, and passages chosen by them alone.

    Attributes:
        classes: place in `CLASSES` of each token's class, start tokens left out, [example, n_tokens], uint8.
        passages: the example, counted from 0, and the index of the first token, counted from 1, [passage, 2].
        passage_tokens: tokens of a passage.
        texts: text of each token of the vocabulary; bytes that are no whole character as `\xe2`.
        evaluation: fingerprint of the evaluation set.
        fingerprint: 16 hexadecimal digits that identify all of it.
    """

    classes: NDArray[np.uint8]
    passages: Ints
    passage_tokens: int
    texts: tuple[str, ...]
    evaluation: str
    fingerprint: str

    def stretch(self, n_tokens: int) -> tuple[int, int]:
        """Return the example and the first index of the part of the first passage with the most continued tokens."""
        example, first = (int(number) for number in self.passages[0])
        shown = self.classes[example, first - 1 :][: self.passage_tokens] == CLASSES.index(CONTINUED)
        counts = np.convolve(shown, np.ones(min(n_tokens, len(shown)), dtype=np.int64), "valid")
        return example, first + int(counts.argmax())


def token_classes(folder: Path, evaluation: Path, settings: Repetitions, out: Path) -> None:
    """Class the tokens of an evaluation set, choose passages, and write both with the vocabulary's texts.

    Args:
        folder: the corpus.
        evaluation: the evaluation set drawn from it.
        settings: length of the prefix, and how many passages of what length.
        out: the safetensors file.

    Raises:
        InductionError: the examples are too short or too few, are not of this corpus, or a file is not whole.

    Source: Olsson et al. 2022, the tokens whose losses the phase change alters; the paper shows a paragraph.
    """
    corpus = open_corpus(folder)
    tensors, about_examples = read_tensors(evaluation, EXAMPLE_ARRAYS, "evaluation set")
    if about_examples["corpus"] != corpus.fingerprint:
        raise InductionError(
            f"{evaluation}: drawn from a corpus {about_examples['corpus']}, and {folder} is {corpus.fingerprint}. "
            f"Make it again: snakemake --force {evaluation}"
        )
    tokens_ET = tensors["tokens"][:, 1:]
    _check_fit(tokens_ET.shape, settings, evaluation)
    classes_ET, back_ET = classes_of(tokens_ET, settings.prefix)
    passages_P2 = choose_passages(
        tokens_ET, classes_ET, back_ET + settings.prefix, settings.n_passages, settings.passage_tokens
    )
    about = {
        "corpus": corpus.fingerprint,
        "evaluation": about_examples["fingerprint"],
        "settings": settings.model_dump(mode="json"),
        "sha256": sha256(classes_ET.tobytes() + passages_P2.tobytes()).hexdigest(),
    }
    described = {**about, "fingerprint": fingerprint(about), "training": corpus.training_fingerprint}
    described["texts"] = texts_of(read_tokenizer(folder))
    write_tensors(out, {"classes": classes_ET, "passages": passages_P2}, described)


def read_token_classes(path: Path) -> TokenClasses:
    """Read the classes of an evaluation set's tokens.

    Raises:
        InductionError: the file is missing or does not hold whole classes.
    """
    tensors, about = read_tensors(path, ("classes", "passages"), "set of token classes")
    return TokenClasses(
        **tensors,
        passage_tokens=about["settings"]["passage_tokens"],
        texts=tuple(about["texts"]),
        evaluation=about["evaluation"],
        fingerprint=about["fingerprint"],
    )


def read_classed_examples(evaluation: Path, token_classes: Path) -> tuple[EvaluationSet, TokenClasses]:
    """Read an evaluation set and the classes of its tokens.

    Raises:
        InductionError: a file is missing or not whole, or the classes are those of another evaluation set.
    """
    examples, classes = read_evaluation(evaluation), read_token_classes(token_classes)
    if classes.evaluation != examples.fingerprint:
        raise InductionError(
            f"{token_classes}: the classes of an evaluation set {classes.evaluation}, and {evaluation} is "
            f"{examples.fingerprint}. Make them again: snakemake --force {token_classes}"
        )
    return examples, classes


def classes_of(tokens_ET: NDArray[np.integer[Any]], prefix: int) -> tuple[NDArray[np.uint8], Ints]:
    """Class each token by what followed the earlier occurrences of its prefix, the `prefix` tokens before it.

    It is *continued*, if it followed any of them; *broken*, if other tokens followed all of them; *other*, if there are
    none, or the example begins within the prefix. A prefix may overlap its earlier occurrence, as in a run of one
    token.

    Args:
        tokens_ET: text tokens, no start token among them.
        prefix: tokens before a token that are looked for in its own example.

    Returns:
        Place of each class in `CLASSES`, [E, T]; and how far back its origin stands, in tokens, [E, T]: for a continued
        token the latest copy of it that followed its prefix, for a broken one what followed its prefix last, else 0.

    Source: Olsson et al. 2022; as their prefix matching, it counts all earlier occurrences.
    """
    copy_ET = latest_copy(tokens_ET, prefix + 1)
    prefix_ET = np.zeros_like(copy_ET)
    prefix_ET[:, 1:] = latest_copy(tokens_ET, prefix)[:, :-1]
    repeated_ET = np.where(copy_ET > 0, CLASSES.index(CONTINUED), CLASSES.index(BROKEN))
    classes_ET = np.where(prefix_ET > 0, repeated_ET, CLASSES.index(OTHER)).astype(np.uint8)
    return classes_ET, np.where(copy_ET > 0, copy_ET, prefix_ET)


def latest_copy(tokens_ET: NDArray[np.integer[Any]], n: int) -> Ints:
    """Return how far back the `n` tokens that end at each token stood the last time.

    Returns:
        Distance in tokens, [E, T]; the two places may overlap. 0 where they are new, or reach before the example.
    """
    n_places = max(tokens_ET.shape[1] - n + 1, 0)
    key = np.repeat(np.arange(len(tokens_ET))[:, None], n_places, axis=1)  # in the end, one number for equal n tokens
    for place in range(n):
        key = key * (int(tokens_ET.max()) + 1) + tokens_ET[:, place : place + n_places]
        key = np.unique(key, return_inverse=True)[1].reshape(key.shape)
    order = np.argsort(key, axis=None, kind="stable")  # equal ones lie side by side, in the order of the text
    again = np.flatnonzero(np.diff(key.ravel()[order]) == 0) + 1
    back = np.zeros(key.size, dtype=np.int64)
    back[order[again]] = order[again] - order[again - 1]
    back_ET = np.zeros(tokens_ET.shape, dtype=np.int64)
    back_ET[:, tokens_ET.shape[1] - n_places :] = back.reshape(key.shape)
    return back_ET


def choose_passages(
    tokens_ET: NDArray[np.integer[Any]],
    classes_ET: NDArray[np.uint8],
    reach_ET: Ints,
    n_passages: int,
    passage_tokens: int,
) -> Ints:
    """Choose the passages that show most of both kinds of repetition; nothing but the tokens decides.

    A repeated token counts where its reader can see why it is one: a continued token, if its latest copy with the same
    prefix lies in the passage, too; a broken one, if the latest occurrence of its prefix does. A passage's score is the
    lesser of its numbers of continued and of broken tokens. Tables of numbers score highest; so only passages with as
    many distinct tokens as the median passage are candidates, others if these are too few. The best passage of each
    example, the first one of equals, stands for it; chosen are the examples with the greatest scores, the first ones of
    equals.

    Args:
        tokens_ET: text tokens.
        classes_ET: as `classes_of` gives them.
        reach_ET: distance from each repeated token to the first token of its origin's prefix, in tokens.
        n_passages: passages, each from another example.
        passage_tokens: tokens of a passage, at most those of an example.

    Returns:
        Example, counted from 0, and index of the first token, counted from 1, best passage first, [P, 2].
    """
    continued_EW, broken_EW = (
        _held_with_origin(classes_ET == CLASSES.index(name), reach_ET, passage_tokens) for name in (CONTINUED, BROKEN)
    )
    copy_ET = latest_copy(tokens_ET, 1)
    distinct_EW = passage_tokens - _held_with_origin(copy_ET > 0, copy_ET, passage_tokens)
    rich_EW = distinct_EW >= np.median(distinct_EW)
    score_EW = np.where(rich_EW, np.minimum(continued_EW, broken_EW), -1)
    begin_E = score_EW.argmax(axis=1)
    example_P = np.argsort(-score_EW.max(axis=1), kind="stable")[:n_passages]
    return np.stack([example_P, begin_E[example_P] + 1], axis=1)


def texts_of(tokenizer: Tokenizer) -> list[str]:
    r"""Return the text of each token of a byte-level vocabulary; bytes that are no whole character as `\xe2`."""
    byte_of = _bytes_of_characters()
    written = sorted(tokenizer.get_vocab().items(), key=itemgetter(1))
    return [bytes(byte_of[letter] for letter in token).decode("utf-8", "backslashreplace") for token, _ in written]


def _check_fit(shape: tuple[int, ...], settings: Repetitions, evaluation: Path) -> None:
    """Refuse settings that examples of this number and length cannot serve."""
    for name, most, what in (
        ("n_passages", shape[0], "examples"),
        ("passage_tokens", shape[1], "tokens an example"),
        ("prefix", shape[1] - 1, "tokens before the last one of an example"),
    ):
        if (asked := getattr(settings, name)) > most:
            raise InductionError(
                f"{evaluation}: repetitions.{name} is {asked}; this evaluation set has {most} {what}. "
                f"Lower repetitions.{name}."
            )


def _held_with_origin(counted_ET: NDArray[np.bool_], back_ET: Ints, passage_tokens: int) -> Ints:
    n_examples, n_tokens = counted_ET.shape
    n_begins = n_tokens - passage_tokens + 1
    example, token = np.nonzero(counted_ET)
    first = np.maximum(token - passage_tokens + 1, 0)
    last = np.minimum(token - back_ET[example, token], n_begins - 1)
    within = first <= last
    example, first, last = example[within], first[within], last[within]
    # A token counts for all passages that begin from `first` to `last`: one more at the first, one less after the last.
    size, width = n_examples * (n_begins + 1), n_begins + 1
    more, less = (np.bincount(example * width + at, minlength=size) for at in (first, last + 1))
    return (more - less).reshape(n_examples, width).cumsum(axis=1)[:, :-1]


def _bytes_of_characters() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for.

    Printable bytes are written as the Latin-1 character of their number, the others as characters from 256 on.
    """
    printable = [byte for first, last in ("!~", "¡¬", "®ÿ") for byte in range(ord(first), ord(last) + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
