"""Build a corpus: documents in the order of their hashes, tokenised, mixed, written as shards.

Texts go to bucket files (`order.py`), tokens to one file for training and one for evaluation (`split.py`); from there
the documents that the mixture uses go to their places. Memory holds a bucket, and a few numbers a document.
"""

import json
import shutil
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tqdm import tqdm

from induction.corpus.mixture import largest_mixture
from induction.corpus.order import DocumentOrder
from induction.corpus.overlap import N_TOKENS, HeldOutRuns, Overlap
from induction.corpus.shards import HELD_OUT, HELD_OUT_OFFSETS, MANIFEST, TOKEN_COUNTS, TOKENIZER, token_dtype
from induction.corpus.sources import describe, documents, pinned
from induction.corpus.split import Split
from induction.corpus.tokenizer import START_TOKEN, encode, train
from induction.errors import InductionError
from induction.files import FolderLock, replacing, sealed, sha256_file
from induction.identity import job_identity
from induction.study.corpora import Corpus
from induction.study.reading import MODELS_FILE
from induction.tables.manifests import corpus_fingerprint

SHARD_TOKENS = 100_000_000
_COUNTED_TOKENS = 4_000_000  # at a time: counting widens each to eight bytes
_BUFFER_BYTES = 1 << 20
_LOOK_SECONDS = 1.0


def corpus(config: Corpus, name: str, out: Path) -> None:
    """Write the corpus `name` into the folder `out`: tokenizer, shards, held-out documents and, last, the manifest.

    The same documents and configuration give the same bytes. Another job that builds into `out` is waited for, as one
    may that outlived the Snakemake before.

    Raises:
        InductionError: a source cannot be read, there is too little text, the disk is full, or the folder cannot be
            written.
    """
    with _alone(out, name):
        _build(config, name, out)


def _build(config: Corpus, name: str, out: Path) -> None:
    where = f"{MODELS_FILE}: corpora.{name}"
    for earlier in (out / MANIFEST, *out.glob("train-*.npy")):
        earlier.unlink(missing_ok=True)
    # Begun first and ended last, so that it also tells of a disk that fills up in between.
    with replacing(out / MANIFEST) as temporary, _scratch(out / ".scratch") as scratch:
        order = DocumentOrder(scratch, config.held_out, config.seed)
        sources = _gather(config, order, where)
        _check_split(order, config, where)
        with _told_of(where):
            tokenizer = train(order, config.vocab_size)
        training, held_out = _tokenise(order, tokenizer, config, scratch)
        _check_used(training, "training", config, where)
        _check_used(held_out, "held-out", config, where)
        runs = HeldOutRuns(held_out, config.vocab_size)
        shards = _write_training(training, config.vocab_size, out, runs)
        every, overlap = held_out, runs.overlap()
        held_out = _without_overlapping(every, overlap, config, where)
        files = _write_others(held_out, tokenizer, out)

        n_distinct = len(training.used) + len(held_out.used)
        manifest = {
            "name": name,
            "vocab_size": config.vocab_size,
            "start_token": START_TOKEN,
            **_counts(training, held_out),
            "n_too_short": sum(source.n_too_short for source in sources),
            "n_duplicates": sum(source.n_added for source in sources) - n_distinct,
            "sources": [
                {**source.about, "sha256": source.sha256, **_counts(training, held_out, number)}
                for number, source in enumerate(sources)
            ],
            "overlap": _described(overlap, every, held_out),
            "shards": shards,
            "files": files,
        }
        manifest["job"] = job_identity()
        # Of what was made, not of how: models go on where another configuration gives the same tokens.
        manifest["fingerprint"] = corpus_fingerprint(shards, files)
        # Of the corpus before held-out documents were dropped: which ones are dropped trains no model again.
        manifest["training_fingerprint"] = corpus_fingerprint(shards, {**files, **_held_out_hashes(every, scratch)})
        temporary.write_text(json.dumps(sealed(manifest), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _alone(out: Path, name: str) -> Iterator[None]:
    lock, waited = FolderLock(out), False
    while not lock.taken():
        if not waited:
            print(f"{name}: waiting for the job that builds it: {lock.owner()}", file=sys.stderr, flush=True)
        waited = True
        time.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        lock.release(forget=True)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)  # what a killed build left
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _told_of(where: str) -> Iterator[None]:
    try:
        yield
    except InductionError as error:
        raise InductionError(f"{where}: {error}") from None


@dataclass
class _Gathered:
    about: dict[str, str]
    sha256: str
    n_added: int
    n_too_short: int


def _gather(config: Corpus, order: DocumentOrder, where: str) -> list[_Gathered]:
    gathered, sources = [], []
    for number, source in enumerate(config.sources):  # all of them first: a wrong name is told at once, not after hours
        with _told_of(f"{where}.sources.{number}"):
            sources.append(pinned(source))
    with order:
        for number, source in enumerate(sources):
            with _told_of(f"{where}.sources.{number}"):
                about = describe(source)
                digest, n_added, n_too_short = sha256(), 0, 0
                for document in tqdm(documents(source), f"reading {next(iter(about.values()))}", disable=None):
                    try:
                        text = document.text.encode()
                    except UnicodeEncodeError as error:
                        raise InductionError(f"{document.origin}: not text that UTF-8 can hold: {error}") from None
                    digest.update(len(text).to_bytes(8, "little") + text)
                    if len(document.text) < config.min_characters:
                        n_too_short += 1
                    else:
                        n_added += 1
                        order.add(number, text)
                gathered.append(_Gathered(about, digest.hexdigest(), n_added, n_too_short))
    return gathered


def _check_split(order: DocumentOrder, config: Corpus, where: str) -> None:
    """Raise where documents went to training alone or to evaluation alone, before anything is computed of them.

    Where there is none at all, the vocabulary says so.
    """
    n_documents, n_held_out = order.n_added, order.n_held_out
    if not n_documents or 0 < n_held_out < n_documents:
        return
    what = "training" if n_held_out else "held-out"
    few = "1 document" if n_documents == 1 else f"{n_documents} documents"
    raise InductionError(
        f"{where}: no {what} document is left to use: the sources give {few} in all, and each is either trained "
        "on or held out as a whole. Split the text: a file, a row of .jsonl or .parquet, for each chapter, article or "
        f"page; some hundreds are enough. Of many documents, change held_out (now {config.held_out})."
    )


def _tokenise(order: DocumentOrder, tokenizer: Tokenizer, config: Corpus, scratch: Path) -> tuple[Split, Split]:
    dtype = token_dtype(config.vocab_size)
    training_path, held_out_path = scratch / "training", scratch / "held_out"
    training_rows, held_out_rows = array("q"), array("q")
    with (
        training_path.open("wb", buffering=_BUFFER_BYTES) as training,
        held_out_path.open("wb", buffering=_BUFFER_BYTES) as held_out,
    ):
        for document, tokens in encode(tokenizer, tqdm(order, "tokenising", disable=None)):
            file, rows = (held_out, held_out_rows) if document.held_out else (training, training_rows)
            file.write(tokens.astype(dtype).data)
            rows.extend((document.source, len(tokens), len(document.text)))

    def split(path: Path, rows: "array[int]") -> Split:
        sources, n_tokens, n_characters = np.array(rows, dtype=np.int64).reshape(-1, 3).T
        used = _mixture(sources, n_tokens, config)
        return Split(path, dtype, sources, n_tokens, n_characters, used, dropped=np.zeros_like(used))

    return split(training_path, training_rows), split(held_out_path, held_out_rows)


def _mixture(sources: NDArray[np.int64], n_tokens: NDArray[np.int64], config: Corpus) -> NDArray[np.bool_]:
    return largest_mixture(sources, n_tokens, [source.weight for source in config.sources])


def _check_used(split: Split, what: str, config: Corpus, where: str) -> None:
    if not split.n_used_tokens:
        given = np.bincount(split.sources, minlength=len(config.sources)).tolist()
        raise InductionError(
            f"{where}: no {what} document is left to use; the sources give {given} of them. Add text, lower "
            f"min_characters (now {config.min_characters}) or change held_out (now {config.held_out})."
        )


def _counts(training: Split, held_out: Split, source: int | None = None) -> dict[str, int]:
    trained, kept = training.counts(source), held_out.counts(source)
    return {
        "n_documents": trained["n_documents"],
        "n_train_tokens": trained["n_tokens"],
        "n_train_characters": trained["n_characters"],
        "n_held_out_documents": kept["n_documents"],
        "n_held_out_tokens": kept["n_tokens"],
        "n_unused_documents": trained["n_unused_documents"] + kept["n_unused_documents"],
        "n_unused_tokens": trained["n_unused_tokens"] + kept["n_unused_tokens"],
    }


def _without_overlapping(held_out: Split, overlap: Overlap, config: Corpus, where: str) -> Split:
    """Return the held-out documents without those of which too much occurs in the training text.

    These are never moved to training: its tokens are the same whether documents are dropped or not.
    """
    if config.max_overlap is None:
        return held_out
    kept = overlap.shares <= config.max_overlap
    used = np.zeros_like(held_out.used)
    used[kept] = _mixture(held_out.sources[kept], held_out.n_tokens[kept], config)
    if not used.any():
        raise InductionError(
            f"{where}: max_overlap: of all {len(kept)} held-out documents too much occurs in the training text (the "
            f"least: {overlap.shares.min():.2f} of its runs of {N_TOKENS} tokens; max_overlap permits "
            f"{config.max_overlap}). Raise max_overlap or held_out, or add text that repeats less."
        )
    return replace(held_out, used=used, dropped=~kept)


def _described(overlap: Overlap, every: Split, kept: Split) -> dict[str, int | float]:
    """Return what the manifest says of the held-out text that occurs in the training text."""
    return {
        "n_tokens": N_TOKENS,
        "share": overlap.share_of(kept.used),
        "n_documents_above_half": int((overlap.shares[kept.used] > 1 / 2).sum()),
        "share_before_dropping": overlap.share_of(every.used),
        "n_dropped_documents": int(kept.dropped.sum()),
        "n_dropped_tokens": int(kept.n_tokens[kept.dropped].sum()),
    }


def _held_out_hashes(held_out: Split, scratch: Path) -> dict[str, str]:
    """Return the hashes that the files of these held-out documents have."""
    _write_held_out(held_out, scratch)
    return {name: sha256_file(scratch / name) for name in (HELD_OUT, HELD_OUT_OFFSETS)}


def _write_training(training: Split, vocab_size: int, out: Path, runs: HeldOutRuns) -> list[dict[str, Any]]:
    shards: list[dict[str, Any]] = []
    token_counts = np.zeros(vocab_size, dtype="<i8")
    for start in range(0, training.n_used_tokens, SHARD_TOKENS):
        stop = min(start + SHARD_TOKENS, training.n_used_tokens)
        path = out / f"train-{len(shards):05d}.npy"
        training.write(path, start, stop)
        shards.append({"file": path.name, "n_tokens": stop - start, "sha256": sha256_file(path)})
        written = np.load(path, mmap_mode="r")
        for begin in range(0, len(written), _COUNTED_TOKENS):
            tokens = np.asarray(written[begin : begin + _COUNTED_TOKENS])
            token_counts += np.bincount(tokens, minlength=vocab_size)
            runs.look_for(tokens)
    _write_array(out / TOKEN_COUNTS, token_counts)
    return shards


def _write_others(held_out: Split, tokenizer: Tokenizer, out: Path) -> dict[str, str]:
    with replacing(out / TOKENIZER) as temporary:
        temporary.write_text(tokenizer.to_str(pretty=True) + "\n", encoding="utf-8")
    _write_held_out(held_out, out)
    return {name: sha256_file(out / name) for name in (TOKENIZER, HELD_OUT, HELD_OUT_OFFSETS, TOKEN_COUNTS)}


def _write_held_out(held_out: Split, folder: Path) -> None:
    held_out.write(folder / HELD_OUT, 0, held_out.n_used_tokens)
    _write_array(folder / HELD_OUT_OFFSETS, held_out.used_offsets.astype("<i8"))


def _write_array(path: Path, values: NDArray[np.int64]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, values)
