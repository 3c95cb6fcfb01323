"""Where chosen heads look in a passage of real text, and what they add to the logit of the token that follows.

Axes: T position, H head, Q query, K key, E width of a head, D residual stream, V vocabulary. Indices are 1-based and
positions 0-based; the start token is at position 0, so that token i is at position i.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from induction.errors import InductionError
from induction.measure.last_snapshot import last_scores, open_last
from induction.models.transformer import LAYER_NORM_EPS, Transformer
from induction.study.analysis import Heads
from induction.tables.case_studies import CASE_STUDIES
from induction.tables.classes import head_classes

_BEST_BY = {"induction": "prefix_matching", "previous-token": "previous_token", "other": "prefix_matching"}
"""The classes in the order of the table, and the score by which the best of each is chosen."""


@dataclass(frozen=True)
class Passage:
    """A stretch of an evaluation example."""

    example: int
    """Counted from 0."""
    first: int
    """Index of its first token, counted from 1."""
    n_tokens: int
    tokens: NDArray[np.int32]
    """All of the example: a start token and its tokens, [T]."""
    texts: tuple[str, ...]
    """Text of every token of the vocabulary."""

    @property
    def queries(self) -> range:
        """Indices of its tokens; the example's last token is left out, since nothing follows it."""
        return range(self.first, min(self.first + self.n_tokens, len(self.tokens) - 1))


class Chosen(NamedTuple):
    """A head, and the class that it is the best of."""

    layer: int
    head: int
    chosen: str


class Reading(NamedTuple):
    """A head's attention and logit attribution on a text, each [Q, K]."""

    attention_QK: Tensor
    attribution_QK: Tensor


def case_studies(
    manifest: Path,
    heads_parts: Sequence[Path],
    thresholds: Heads,
    passage: Passage,
    out: Path,
    *,
    provenance: dict[str, str],
    device: str,
) -> None:
    """Read a passage with the best head of each class; write the model's part of the table `case_studies`.

    Args:
        manifest: the manifest of the model's last block; its last snapshot is measured.
        heads_parts: parts of the table `heads` with that snapshot's scores.
        thresholds: of the classes of heads.
        passage: what is read; the model sees the example from its start.
        out: the part of the table.
        provenance: goes into the footer.
        device: where to compute.

    Raises:
        InductionError: the passage lies outside its example, or the scores are not this snapshot's.
    """
    if passage.first < 1 or not passage.queries:
        raise InductionError(
            f"passage of example {passage.example}: its first token, {passage.first}, must be one of the example's "
            f"tokens 1 to {len(passage.tokens) - 2}, so that a token follows. Make token_classes.safetensors again."
        )
    scores, snapshot = last_scores(manifest, heads_parts), open_last(manifest, device)
    with CASE_STUDIES.writer(out, **provenance) as table:
        heads = best_of_classes(scores, thresholds)
        tokens_T = torch.from_numpy(passage.tokens[: passage.queries.stop + 1]).long().to(device)
        readings = read_text(snapshot.model, tokens_T, [(head.layer, head.head) for head in heads])
        for head, reading in zip(heads, readings, strict=True):
            columns = _rows(passage, reading)
            table.append({"step": snapshot.step, "tokens": snapshot.tokens, **head._asdict(), **columns})


def best_of_classes(heads: pl.DataFrame, thresholds: Heads) -> list[Chosen]:
    """Choose of each class that has a head the best one, in a model's final snapshot.

    Args:
        heads: one model's rows of the table `heads`.
        thresholds: of the classes.

    Returns:
        The induction head with the highest prefix matching, the previous-token head with the highest score as such,
        and of the others the one with the highest prefix matching; of equals the first.
    """
    classed = heads.join(head_classes(heads, thresholds), on=["model", "layer", "head"])
    chosen = []
    for name, score in _BEST_BY.items():
        ranked = classed.filter(pl.col("class") == name).sort(score, "layer", "head", descending=[True, False, False])
        chosen += [Chosen(row["layer"], row["head"], name) for row in ranked.head(1).to_dicts()]
    return chosen


@torch.inference_mode()
def read_text(model: Transformer, tokens_T: Tensor, heads: Sequence[tuple[int, int]]) -> list[Reading]:
    """Return each head's attention and logit attribution on one text, for every query that a token follows.

    A key's attribution is A[i, j] W_U W_O v_j, less its mean over the vocabulary, for the token after the query. The
    final LayerNorm is linear once its scale at the query is known, and is folded in: its gain, its centring, and that
    scale. So the attributions of all heads and keys, and what the embedding, MLPs and biases add, sum to the logit
    less the mean logit.

    Args:
        model: the model.
        tokens_T: the text, from its start token; the last token is predicted, not read.
        heads: layer and head of each.

    Source: Olsson et al. 2022, “logit attribution”.
    """
    residual_BTD = model.embed(tokens_T[None, :-1])
    found: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    for layer, block in enumerate(model.blocks):
        normed_BTD = block.ln1(residual_BTD)
        z_BHQE, pattern_BHQK = block.attn.mix_and_pattern(normed_BTD)
        v_BHKE, W_O_HED = block.attn.values(normed_BTD), block.attn.per_head("W_O")
        for head in {asked_head for asked_layer, asked_head in heads if asked_layer == layer}:
            found[layer, head] = pattern_BHQK[0, head], v_BHKE[0, head] @ W_O_HED[head]
        residual_BTD = block.after_attention(residual_BTD + block.attn.result(z_BHQE))
    raising_QD = _raising_directions(model, residual_BTD[0], tokens_T[1:])
    return [
        Reading(pattern_QK, pattern_QK * (raising_QD @ written_KD.T))
        for pattern_QK, written_KD in (found[layer, head] for layer, head in heads)
    ]


def _raising_directions(model: Transformer, residual_QD: Tensor, targets_Q: Tensor) -> Tensor:
    """Return the directions whose product with a part of the final stream is that part's share of the centred logit."""
    scale_Q1 = (residual_QD.var(-1, correction=0, keepdim=True) + LAYER_NORM_EPS).sqrt()
    unembed_QD = model.W_U[:, targets_Q].T - model.W_U.mean(dim=1)
    folded_QD = model.ln_final.w * unembed_QD / scale_Q1
    return folded_QD - folded_QD.mean(-1, keepdim=True)


def _rows(passage: Passage, reading: Reading) -> dict[str, object]:
    """Return the columns of one head: each query of the passage with the start token and the keys from its first on."""
    pairs = [(query, key) for query in passage.queries for key in (0, *range(passage.first, query + 1))]
    query, key = np.array(pairs).T
    texts = [passage.texts[token] for token in passage.tokens.tolist()]
    return {
        "example": passage.example,
        "query": query,
        "query_text": [texts[index] for index in query],
        "key": key,
        "key_text": [texts[index] for index in key],
        "attention": reading.attention_QK.cpu().numpy()[query, key],
        "attribution": reading.attribution_QK.cpu().numpy()[query, key],
    }
