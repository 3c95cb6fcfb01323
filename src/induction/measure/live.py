"""What is seen of a model while it trains, of few tokens: its best prefix matching, its in-context learning.

And when that amounts to the phase change: at first a head matches prefixes, then the losses late in the context fall.

Axes: B sequence, T position, L layer, H head, Q query, K key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the field's name for it)
from numpy.typing import NDArray
from torch import Tensor

from induction.errors import InductionError
from induction.measure.heads import prefix_matching
from induction.models.transformer import ReadPattern, Transformer, reading
from induction.study.evaluation import InContext, Probes, Watch

Look = Mapping[str, float]
"""What was seen, by name, and the `step` and `tokens` at which."""

NOT_YET, BEGINNING, SEEN = "not yet", "beginning", "seen"

_TOKENS_AT_ONCE = 2048
_LOOKS_IN_A_ROW = 2
"""One look alone can be chance."""
_LOOKS_COMPARED = (10, 3)
"""The last so many before prefixes are matched, and the last so many since, whose ICL is compared."""
_LEAST_BEFORE = 3


class Text(Protocol):
    """What is read of a corpus; `induction.corpus` has one."""

    @property
    def start_token(self) -> int:
        """The token that documents start with."""
        ...

    @property
    def held_out(self) -> NDArray[Any]:
        """Tokens of the documents kept out of training, one after the other, each from its start token."""
        ...

    @property
    def held_out_offsets(self) -> NDArray[np.int64]:
        """Where each of them starts, and the end of the last, [documents + 1]."""
        ...

    @property
    def token_counts(self) -> NDArray[np.int64]:
        """Occurrences of each token in training, [V]."""
        ...


@dataclass(frozen=True)
class LiveProbe:
    """Looks at a model now and then; `live_probe` draws one.

    `repeated_BT`: a start token, then `period` random tokens repeated; `text_BT`: a start token, then consecutive
    tokens of a held-out document; `in_context`: the windows whose losses are late and early; `rules`: how often it
    looks, and what it takes for the phase change.
    """

    repeated_BT: Tensor
    period: int
    text_BT: Tensor
    in_context: InContext
    rules: Watch

    @property
    def every(self) -> int:
        """Steps from one look to the next."""
        return self.rules.every

    @torch.no_grad()
    def look(self, model: Transformer) -> dict[str, float]:
        """Return what is seen of a model, which runs as it does in training.

        Returns:
            `prefix_matching`, the best head's, and which head that is, `prefix_matching_layer` and
            `prefix_matching_head`, from 0; `icl`, the windowed score, and `icl_se`, its standard error over the
            examples, nats; `loss_held_out`, nats a token.
        """
        score_LH = self.scores(model)
        layer, head = divmod(int(score_LH.argmax()), score_LH.shape[1])
        losses_BT = _losses(model, self.text_BT)
        early, late = (
            losses_BT[:, first - 1 : last].mean(dim=1)
            for first, last in (self.in_context.early_window, self.in_context.late_window)
        )
        icl_B = late - early
        return {
            "prefix_matching": float(score_LH[layer, head]),
            "prefix_matching_layer": layer,
            "prefix_matching_head": head,
            "icl": float(icl_B.mean()),
            "icl_se": float(icl_B.std() / len(icl_B) ** 0.5),
            "loss_held_out": float(losses_BT.mean()),
        }

    @torch.no_grad()
    def scores(self, model: Transformer) -> Tensor:
        """Return the prefix matching of every head, [L, H]."""
        found: list[list[Tensor]] = [[] for _ in model.blocks]

        def reader(of_layer: list[Tensor]) -> ReadPattern:
            def read(weights_BHQK: Tensor, total_BHQ1: Tensor, first: int) -> None:
                matched_BHQ = prefix_matching(weights_BHQK.float(), self.period, first)
                of_layer.append(matched_BHQ / total_BHQ1[..., 0].float())

            return read

        with reading(model, [reader(of_layer) for of_layer in found]):
            model(self.repeated_BT.to(model.W_E.device))
        scores = [torch.cat(of_layer, dim=-1)[..., 1 + self.period :].mean(dim=(0, -1)) for of_layer in found]
        return torch.stack(scores).cpu()

    def told(self, look: Look) -> str:
        """Return the gist of a look, in words."""
        head = f"layer {look['prefix_matching_layer']}, head {look['prefix_matching_head']}"
        return f"prefix matching {look['prefix_matching']:.2f} ({head}), ICL {look['icl']:+.2f} ± {look['icl_se']:.2f}"

    def phase_change(self, looks: Sequence[Look]) -> tuple[str, Look | None]:
        """Return whether the phase change has been seen, and the look since which; see `phase_change`."""
        return phase_change(looks, self.rules)


def live_probe(text: Text, rules: Watch, probes: Probes, in_context: InContext, n_ctx: int) -> LiveProbe:
    """Draw a probe from what a corpus holds, the same whenever it is drawn.

    Args:
        text: the corpus.
        rules: how many sequences and examples, how often to look, what is the phase change.
        probes: the period of the random tokens, how often they are repeated, which are not drawn, the seed.
        in_context: the windows of in-context learning; examples are as long as these need.
        n_ctx: the model's context, tokens.

    Raises:
        InductionError: the context is too short, or there are not two examples in the held-out documents.
    """
    n_tokens = in_context.last_index
    if (needed := max(n_tokens, 1 + probes.period * probes.n_repeats)) > n_ctx:
        raise InductionError(
            f"watch: the probes and windows by which training is watched need {needed} tokens, and n_ctx is {n_ctx}. "
            f"Lower {'late and late_window of in_context' if needed == n_tokens else 'period or n_repeats of probes'}, "
            "or set every to 0: nothing is watched then."
        )
    rng = np.random.default_rng(probes.seed % 2**64)
    tokens = np.argsort(text.token_counts, kind="stable")
    tokens = tokens[(tokens != text.start_token) & (text.token_counts[tokens] > 0)]
    n_rarest, n_commonest = (int(share * len(tokens)) for share in (probes.rarest_excluded, probes.commonest_excluded))
    drawable = np.tile(tokens[n_rarest : len(tokens) - n_commonest], (rules.n_sequences, 1))
    drawn = rng.permuted(drawable, axis=1)[:, : probes.period]

    starts = [
        np.arange(start + 1, end - n_tokens + 1, n_tokens)  # past the document's start token
        for start, end in pairwise(text.held_out_offsets)
    ]
    chosen = rng.permutation(np.concatenate([np.arange(0), *starts]))[: rules.n_examples]
    if len(chosen) < 2:
        raise InductionError(
            f"watch: training is watched with examples of {n_tokens} tokens, and the held-out documents of the corpus "
            f"hold {len(chosen)} such pieces. Raise held_out of the corpus, lower late and late_window of in_context, "
            "or set every to 0: nothing is watched then."
        )
    examples = text.held_out[chosen[:, None] + np.arange(n_tokens)]
    return LiveProbe(
        repeated_BT=_started(np.tile(drawn, probes.n_repeats), text.start_token),
        period=drawn.shape[1],
        text_BT=_started(examples, text.start_token),
        in_context=in_context,
        rules=rules,
    )


def phase_change(looks: Sequence[Look], rules: Watch) -> tuple[str, Look | None]:
    """Tell whether a series of looks shows the phase change.

    It begins where the best prefix matching exceeds `min_prefix_matching` and `min_rise` times its median before, in
    two looks in a row and in all since; where it falls back, nothing has begun. It is seen when in addition ICL, the
    mean of the last three looks, has fallen below the mean of the last ten before the beginning, by `min_icl_fall_nats`
    and by `min_fall_over_noise` standard errors, from the scatter of those ten; of fewer than three it is not known,
    and nothing is seen. What is seen stays seen.

    Args:
        looks: in the order of their steps.
        rules: the thresholds.

    Returns:
        `NOT_YET` and None; `BEGINNING` and the look at which it began; or `SEEN` and the look that showed it. A model
        that at the very first look exceeds `min_rise` times `min_prefix_matching` has changed before: it is seen there.
    """
    began: int | None = None
    for last, look in enumerate(looks):
        before = [earlier["prefix_matching"] for earlier in looks[: last if began is None else began]]
        usual = float(np.median(before)) if before else rules.min_prefix_matching
        if look["prefix_matching"] < max(rules.min_prefix_matching, rules.min_rise * usual):
            began = None
            continue
        began = last if began is None else began
        if last + 1 - began < _LOOKS_IN_A_ROW:
            continue
        if began == 0:
            return SEEN, looks[0]
        if _has_fallen(looks[:began], looks[began : last + 1], rules):
            return SEEN, look
    if began is None or len(looks) - began < _LOOKS_IN_A_ROW:
        return NOT_YET, None
    return BEGINNING, looks[began]


def _has_fallen(before: Sequence[Look], since: Sequence[Look], rules: Watch) -> bool:
    n_before, n_since = _LOOKS_COMPARED
    former, latter = (np.array([look["icl"] for look in looks]) for looks in (before[-n_before:], since[-n_since:]))
    if len(former) < _LEAST_BEFORE:
        return False  # too few to know their scatter
    noise = former.std(ddof=1) * (1 / len(former) + 1 / len(latter)) ** 0.5
    least = max(rules.min_icl_fall_nats, rules.min_fall_over_noise * noise)
    return bool(former.mean() - latter.mean() >= least)


def _started(tokens: NDArray[Any], start_token: int) -> Tensor:
    """Return sequences with a start token before them, [B, 1 + T]."""
    start = np.full((len(tokens), 1), start_token)
    return torch.from_numpy(np.concatenate([start, tokens], axis=1).astype(np.int64))


def _losses(model: Transformer, tokens_BT: Tensor) -> Tensor:
    """Return the loss of every token but the first of each example, nats, float32, [B, T - 1].

    No more tokens go through the model at once than one context has, or a few: training itself needs more memory.
    """
    at_once = max(1, max(_TOKENS_AT_ONCE, model.architecture.n_ctx) // tokens_BT.shape[1])
    parts = []
    for some_BT in tokens_BT.to(model.W_E.device).split(at_once):
        logits_BTV, targets_BT = model(some_BT[:, :-1]), some_BT[:, 1:]
        losses = F.cross_entropy(logits_BTV.float().flatten(0, 1), targets_BT.flatten(), reduction="none")
        parts.append(losses.view_as(targets_BT).cpu())
    return torch.cat(parts)
