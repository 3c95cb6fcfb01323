"""Byte-level BPE: trained on the training documents, lossless on any text."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from induction.corpus.order import OrderedDocument
from induction.corpus.shards import MANIFEST, TOKENIZER, check_file
from induction.errors import InductionError
from induction.files import cannot_read

START = "<|start|>"
START_TOKEN = 0
CHARACTERS_PER_TOKEN = 20_000
MOST_CHARACTERS = 200_000_000
"""The vocabulary is made from so many characters a token of it, at most so many in all; the documents that give them
are the first ones, and the documents are in random order."""

LONGEST_WORD = 2000
"""Bytes of a word, as the vocabulary is trained on it; of a longer one, the pieces. Training takes time that grows with
the square of a word's length, and minified code, DNA or a run of one character is one word. Encoding cuts nothing."""

_BATCH_CHARACTERS = 2_000_000  # of a thread: an encoding takes some 100 bytes a token while it is in memory

Encoded = tuple[OrderedDocument, NDArray[np.int64]]


def n_threads() -> int:
    """Return how many threads this job has: OMP_NUM_THREADS, which Snakemake sets, or the CPUs that it may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train(documents: Iterable[OrderedDocument], vocab_size: int) -> Tokenizer:
    """Train a vocabulary of exactly `vocab_size` tokens, the start token included.

    Raises:
        InductionError: the documents do not give as many tokens.
    """
    os.environ.setdefault("RAYON_NUM_THREADS", str(n_threads()))  # the library's own threads, which train it
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.FixedLength(LONGEST_WORD)])
    tokenizer.decoder = decoders.ByteLevel()
    n_characters = min(CHARACTERS_PER_TOKEN * vocab_size, MOST_CHARACTERS)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[START],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_first_texts(documents, n_characters), trainer)
    tokenizer.pre_tokenizer = words
    n_found = tokenizer.get_vocab_size()
    if n_found != vocab_size:
        raise InductionError(
            f"vocab_size: the training documents give {n_found} tokens, fewer than {vocab_size}. "
            f"Lower vocab_size to {n_found} or less, add text, or lower min_characters."
        )
    return tokenizer


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read the vocabulary of the corpus in `folder`.

    Raises:
        InductionError: its file is missing, or is not the one that the manifest names.
    """
    path = folder / TOKENIZER
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises no narrower one
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise cannot_read(path, "tokenizer", error) from error
        raise InductionError(
            f"{path}: not a whole tokenizer ({error}). Make the corpus again: snakemake --force {folder / MANIFEST}"
        ) from None
    check_file(folder, TOKENIZER)
    return tokenizer


def encode(tokenizer: Tokenizer, documents: Iterable[OrderedDocument]) -> Iterator[Encoded]:
    """Yield each document with its tokens, a start token before them; a text that spells the start token is text.

    The job's threads take a batch of documents each; what comes of it is the same however many they are.
    """
    tokenizer.encode_special_tokens = True
    n_ahead = n_threads()
    pending: deque[Future[list[Encoded]]] = deque()
    with ThreadPoolExecutor(n_ahead) as pool:
        for batch in _batches(documents):
            pending.append(pool.submit(_encode_batch, tokenizer, batch))
            if len(pending) > n_ahead:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _encode_batch(tokenizer: Tokenizer, batch: list[OrderedDocument]) -> list[Encoded]:
    encodings = tokenizer.encode_batch_fast([document.text for document in batch], add_special_tokens=False)
    return [
        (document, np.array([START_TOKEN, *encoding.ids])) for document, encoding in zip(batch, encodings, strict=True)
    ]


def _first_texts(documents: Iterable[OrderedDocument], n_characters: int) -> Iterator[str]:
    for document in documents:
        if n_characters <= 0:
            return
        if not document.held_out:
            yield document.text[:n_characters]
            n_characters -= len(document.text)


def _batches(documents: Iterable[OrderedDocument]) -> Iterator[list[OrderedDocument]]:
    batch: list[OrderedDocument] = []
    n_characters = 0
    for document in documents:
        batch.append(document)
        n_characters += len(document.text)
        if n_characters >= _BATCH_CHARACTERS:
            yield batch
            batch, n_characters = [], 0
    if batch:
        yield batch
