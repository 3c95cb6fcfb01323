"""The probes: random tokens, repeated and not, on which prefix matching and copying are scored."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from induction.corpus.shards import OpenCorpus, open_corpus
from induction.errors import InductionError
from induction.files import fingerprint
from induction.study.evaluation import Probes
from induction.tables.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class ProbeSet:
    """Random tokens, none too common and none too rare, distinct within a sequence."""

    repeated: NDArray[np.int32]
    """A start token, then `period` tokens shown `n_repeats` times, [sequences, 1 + period * n_repeats]."""
    distinct: NDArray[np.int32]
    """Tokens without repeats and without a start token, [sequences, period]."""
    period: int
    fingerprint: str


def probes(folder: Path, settings: Probes, out: Path) -> None:
    """Draw the probes from a corpus's vocabulary and write them.

    Args:
        folder: the corpus.
        settings: sequences, period, repeats, what is not drawn, and the seed.
        out: the safetensors file.

    Raises:
        InductionError: too few tokens can be drawn, or the corpus is not whole.
    """
    corpus = open_corpus(folder)
    candidates = _candidates(corpus, settings, settings.period, "period")
    rng = np.random.default_rng(settings.seed % 2**64)
    rows = np.tile(candidates, (2 * settings.n_sequences, 1))
    drawn = rng.permuted(rows, axis=1)[:, : settings.period].astype(np.int32)
    repeated, distinct = drawn[: settings.n_sequences], drawn[settings.n_sequences :]
    start = np.full((settings.n_sequences, 1), corpus.start_token, dtype=np.int32)
    repeated = np.concatenate([start, np.tile(repeated, settings.n_repeats)], axis=1)

    about = {
        "corpus": corpus.fingerprint,
        "settings": settings.model_dump(mode="json"),
        "sha256": sha256(repeated.tobytes() + distinct.tobytes()).hexdigest(),
    }
    tensors = {"repeated": repeated, "distinct": distinct}
    described = {**about, "fingerprint": fingerprint(about), "training": corpus.training_fingerprint}
    write_tensors(out, tensors, described)


def read_probes(path: Path) -> ProbeSet:
    """Read the probes.

    Raises:
        InductionError: the file is missing or does not hold whole probes.
    """
    tensors, about = read_tensors(path, ("repeated", "distinct"), "set of probes")
    return ProbeSet(**tensors, period=about["settings"]["period"], fingerprint=about["fingerprint"])


def repeated_at(folder: Path, settings: Probes, n_tokens: int) -> dict[int, NDArray[np.int32]]:
    """Draw sequences of a corpus's vocabulary that repeat at each of the other periods.

    Args:
        folder: the corpus.
        settings: of the probes; each period has random tokens of its own.
        n_tokens: greatest length of a sequence, its start token included.

    Returns:
        Of each period a start token, then the tokens shown `n_repeats` times or as often as fits, [sequences, token].

    Raises:
        InductionError: too few tokens can be drawn, two repeats do not fit, or the corpus is not whole.
    """
    corpus, drawn = open_corpus(folder), {}
    for period in settings.other_periods:
        n_repeats = min(settings.n_repeats, (n_tokens - 1) // period)
        if n_repeats < 2:
            raise InductionError(
                f"probes.other_periods: {period} random tokens are to be shown twice at least, and n_tokens is "
                f"{n_tokens}. Permitted: at most {(n_tokens - 1) // 2}"
            )
        rng = np.random.default_rng([settings.seed % 2**64, period])
        candidates = _candidates(corpus, settings, period, "other_periods")
        rows = rng.permuted(np.tile(candidates, (settings.n_sequences, 1)), axis=1)[:, :period].astype(np.int32)
        start = np.full((settings.n_sequences, 1), corpus.start_token, dtype=np.int32)
        drawn[period] = np.concatenate([start, np.tile(rows, n_repeats)], axis=1)
    return drawn


def _candidates(corpus: OpenCorpus, settings: Probes, period: int, field: str) -> NDArray[np.int64]:
    """Return the seen tokens between the rarest and the commonest; of equally common ones the lower number is rarer.

    Raises:
        InductionError: there are fewer than `period`.
    """
    counts = corpus.token_counts
    tokens = np.argsort(counts, kind="stable")
    tokens = tokens[(tokens != corpus.start_token) & (counts[tokens] > 0)]
    n_rarest = int(settings.rarest_excluded * len(tokens))
    n_commonest = int(settings.commonest_excluded * len(tokens))
    candidates = tokens[n_rarest : len(tokens) - n_commonest]
    if len(candidates) < period:
        raise InductionError(
            f"{corpus.folder}: probes.{field} asks for {period} distinct tokens, and {len(candidates)} of the "
            f"vocabulary's {corpus.vocab_size} are left to draw from. Lower probes.{field}, "
            f"probes.commonest_excluded (now {settings.commonest_excluded}) or probes.rarest_excluded "
            f"(now {settings.rarest_excluded})."
        )
    return candidates
