"""Tables of models whose phase change is known: the curves are planted, the noise is that of real losses."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq

from induction.study.analysis import Phases
from induction.study.evaluation import InContext
from induction.tables.ablations import ABLATIONS
from induction.tables.heads import HEADS
from induction.tables.losses import LOSSES
from induction.tables.tensors import write_tensors

MILLION = 1e6
TOKENS_A_STEP = 2048
STEPS = np.array(sorted({*range(0, 3961, 120), *range(1320, 2881, 60)}))
EARLY_STEPS = np.array(sorted({*range(0, 3961, 120), *range(0, 1321, 60)}))
TOKENS = STEPS * float(TOKENS_A_STEP)
RATE_FRACTION = Phases().rate_fraction
HALF_WIDTH = float(brentq(lambda u: 1 / np.cosh(u) ** 2 - RATE_FRACTION * np.tanh(u) / u, 0.01, 9))
INSIDE = np.tanh(HALF_WIDTH)
"""Share of a logistic fall that lies inside its window."""


def sigmoid_fall(tokens, start: float, end: float, size: float):
    """Fall by `size`; at `start` and `end` (tokens) its rate is RATE_FRACTION of its mean rate between them.

    A logistic has the rate 1/cosh(u)^2 and the mean rate INSIDE/u between -u and u, in units of its peak rate.
    """
    scale = (end - start) / 2 / (2 * HALF_WIDTH)
    return -size / (1 + np.exp(-(tokens - (start + end) / 2) / scale))


def power_law(tokens):
    return 2.2 + 4.7 * (1 + tokens / 6e4) ** -0.45


def example_losses(curve, n_examples: int, n_averaged: int, seed: int):
    """Losses averaged over `n_averaged` tokens of each example: sd 2.5 nats a token, 0.7 of it new at each snapshot."""
    random = np.random.default_rng(seed)
    shared = random.standard_normal(n_examples) * 2.5
    own = random.standard_normal((len(curve), n_examples)) * 0.7
    return curve[:, None] + (shared + own) / np.sqrt(n_averaged)


def losses(tokens, mean: Callable, icl: Callable, n_examples: int, n_indices: int, seed: int):
    """Losses [snapshot, example, index]: their mean is `mean`, their late minus early windows `icl` (of tokens).

    The loss of a token is its expectation times a difficulty of its own (mean and sd 1), times 25% noise at each
    snapshot.
    """
    random = np.random.default_rng(seed)
    slope = (np.arange(1, n_indices + 1) - (n_indices + 1) / 2) / 450
    difficulty = random.standard_exponential((n_examples, n_indices), dtype=np.float32)
    for now in tokens:
        noise = 1 + 0.25 * random.standard_normal((n_examples, n_indices), dtype=np.float32)
        yield difficulty * noise.clip(0) * (mean(now) + icl(now) * slope).astype(np.float32)


TWELVE = InContext(early=4, late=10, early_window=(2, 4), late_window=(9, 12))
"""Indices for contexts of twelve tokens."""


def write_jump(folder: Path, size: float, n_examples: int = 256) -> dict[str, Any]:
    """Write a model whose late tokens fall by `size` from 4M to 6M training tokens, in contexts of twelve tokens.

    Its first head's prefix matching rises by twice that there; no previous-token score ever does.
    """
    random = np.random.default_rng(0)
    falls = sigmoid_fall(TOKENS, 4 * MILLION, 6 * MILLION, size)
    late = np.arange(1, 13) >= TWELVE.late_window[0]
    noise = random.standard_normal((n_examples, 12)) + 0.3 * random.standard_normal((len(STEPS), n_examples, 12))
    scores = {"prefix_matching": np.stack([-2 * falls, 0 * falls], axis=1)}
    return {
        "losses": write_losses(folder, STEPS, (8 + noise + falls[:, None, None] * late).astype(np.float32)),
        "heads": [write_heads(folder / "heads.parquet", STEPS, scores)],
        "evaluation": write_evaluation(folder / "evaluation.safetensors", np.arange(n_examples) % 12 + 1),
    }


def write_losses(folder: Path, steps: Sequence[int], losses_SEI, blocks: int = 4) -> list[Path]:
    """Write the losses as `blocks` parts of consecutive snapshots."""
    rows = list(zip(steps, losses_SEI, strict=True))
    paths = []
    for number, snapshots in enumerate(np.array_split(np.arange(len(rows)), blocks)):
        paths.append(folder / f"block-{number}.parquet")
        with LOSSES.writer(paths[-1]) as table:
            for row in snapshots:
                step, losses_EI = rows[row]
                examples = np.arange(len(losses_EI))
                table.append({"step": step, "tokens": step * TOKENS_A_STEP, "example": examples, "loss": losses_EI})
    return paths


def write_heads(path: Path, steps: Sequence[int], scores: dict[str, np.ndarray]) -> Path:
    """Write heads of one layer; `scores` are [snapshot, head], what is not given is 0."""
    shape = next(iter(scores.values())).shape
    step, head = (grid.ravel() for grid in np.meshgrid(steps, np.arange(shape[1]), indexing="ij"))
    columns = {column.name: np.zeros(step.size) for column in HEADS.columns}
    columns |= {f"{name}_se": np.full(step.size, 0.01) for name in ("prefix_matching", "previous_token")}
    columns |= {name: values.ravel() for name, values in scores.items()}
    columns |= {"step": step, "tokens": step * TOKENS_A_STEP, "layer": np.zeros(step.size, np.int16)}
    HEADS.write(path, columns | {"head": head.astype(np.int16)})
    return path


def write_ablations(path: Path, step: int, intact, ablated) -> Path:
    """Write one snapshot's random-index losses: the intact model's [example], the ablated heads' [head, example]."""
    n_heads = len(ablated)
    columns = {column.name: 0.0 for column in ABLATIONS.columns}
    columns |= {"step": step, "tokens": step * TOKENS_A_STEP, "mode": ["intact", *["pattern-preserving"] * n_heads]}
    columns |= {"replacement": ["none", *["zero"] * n_heads], "norm": "recomputed"}
    columns |= {"layer": [None, *[0] * n_heads], "head": [None, *range(n_heads)]}
    ABLATIONS.write(path, columns | {"random_index_loss": np.vstack([intact, ablated])})
    return path


def write_evaluation(path: Path, random_index) -> Path:
    index = np.asarray(random_index, dtype=np.int64)
    write_tensors(path, {"tokens": np.zeros((len(index), 1), dtype=np.int32), "random_index": index}, {})
    return path
