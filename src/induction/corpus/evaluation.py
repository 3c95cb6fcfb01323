"""The evaluation set: the same pieces of held-out documents for every model and every snapshot."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from induction.corpus.shards import open_corpus
from induction.errors import InductionError
from induction.files import fingerprint
from induction.study.evaluation import Evaluation
from induction.tables.tensors import read_tensors, write_tensors

EXAMPLE_ARRAYS = ("tokens", "random_index")


@dataclass(frozen=True)
class EvaluationSet:
    """Examples in random order, so that the first few are a sample of all."""

    tokens: NDArray[np.int32]
    """A start token, then consecutive tokens of one held-out document, [examples, n_tokens + 1]."""
    random_index: NDArray[np.int64]
    """The token index, 1 to n_tokens, at which each example's loss enters the loss curve, [examples]."""
    fingerprint: str


def evaluation(folder: Path, settings: Evaluation, out: Path) -> None:
    """Cut the held-out documents into pieces and write a random choice of them.

    Pieces do not overlap. The pieces and indices of fewer examples are the first ones of more.

    Args:
        folder: the corpus.
        settings: how many examples, of what length, and the seed.
        out: the safetensors file.

    Raises:
        InductionError: the held-out documents are too few or too short, or the corpus is not whole.
    """
    corpus = open_corpus(folder)
    n_tokens = settings.n_tokens
    first = corpus.held_out_offsets[:-1] + 1  # past the document's start token
    lengths = corpus.held_out_offsets[1:] - first
    n_pieces = lengths // n_tokens
    if n_pieces.sum() < settings.n_examples:
        raise InductionError(
            f"{folder}: evaluation.n_examples asks for {settings.n_examples} examples of {n_tokens} tokens; "
            f"the {len(lengths)} held-out documents hold {n_pieces.sum()} such pieces (longest document: "
            f"{lengths.max()} tokens). Lower evaluation.n_examples or evaluation.n_tokens, or raise "
            f"corpora.{corpus.name}.held_out."
        )
    document = np.repeat(np.arange(len(lengths)), n_pieces)
    within = np.arange(len(document)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    starts = first[document] + within * n_tokens

    pieces_rng, index_rng = np.random.default_rng(settings.seed % 2**64).spawn(2)
    chosen = pieces_rng.permutation(starts)[: settings.n_examples]
    tokens = np.full((settings.n_examples, n_tokens + 1), corpus.start_token, dtype=np.int32)
    tokens[:, 1:] = corpus.held_out[chosen[:, None] + np.arange(n_tokens)]
    random_index = index_rng.integers(1, n_tokens, size=settings.n_examples, endpoint=True)

    about = {
        "corpus": corpus.fingerprint,
        "settings": settings.model_dump(mode="json"),
        "sha256": sha256(tokens.tobytes() + random_index.tobytes()).hexdigest(),
    }
    tensors: dict[str, NDArray[Any]] = {"tokens": tokens, "random_index": random_index}
    described = {**about, "fingerprint": fingerprint(about), "training": corpus.training_fingerprint}
    write_tensors(out, tensors, described)


def read_evaluation(path: Path) -> EvaluationSet:
    """Read an evaluation set.

    Raises:
        InductionError: the file is missing or is not a whole evaluation set.
    """
    tensors, about = read_tensors(path, EXAMPLE_ARRAYS, "evaluation set")
    return EvaluationSet(**tensors, fingerprint=about["fingerprint"])
