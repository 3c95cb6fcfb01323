"""What smeared keys change: claims 14 and 15. Each raises NotTestableError where the study lacks the models."""

from collections.abc import Sequence

import numpy as np

from induction.analyse.claims.evidence import Evidence, Member, midpoint, same_seeds
from induction.analyse.claims.judging import (
    Estimate,
    Judgement,
    NotTestableError,
    above,
    ending,
    in_millions,
)
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

Pairs = Sequence[tuple[Member, Member]]


def one_layer(evidence: Evidence) -> list[Judgement]:
    """Claim 14: a single layer with smeared keys has the change, one with plain keys has not."""
    return [_one_layer(evidence, subject, pairs) for subject, pairs in _smeared_and_plain(evidence, 1)]


def earlier(evidence: Evidence) -> list[Judgement]:
    """Claim 15: two layers change earlier with smeared keys, seed by seed."""
    return [_earlier(evidence, subject, pairs) for subject, pairs in _smeared_and_plain(evidence, 2)]


def _smeared_and_plain(evidence: Evidence, n_layers: int) -> list[tuple[str, Pairs]]:
    """Return the pairs of models of so many layers, smeared first, that have the seed and all else in common."""
    found: list[tuple[str, Pairs]] = []
    for one, other in evidence.pairs("smeared_keys"):
        smeared, plain = (one, other) if one.fields.smeared_keys else (other, one)
        if smeared.fields.n_layers == n_layers and (pairs := same_seeds(smeared, plain)):
            found.append((f"{smeared.subject} against {plain.subject}", pairs))
    if not found:
        layers = "1 layer" if n_layers == 1 else f"{n_layers} layers"
        raise NotTestableError(
            f"needs two models of {layers} that differ in smeared_keys alone, the seed being the same: none in this "
            f"study; add n_layers {n_layers} to a family with smeared_keys and to the one that is otherwise like it"
        )
    return found


def _one_layer(evidence: Evidence, subject: str, pairs: Pairs) -> Judgement:
    finals = [evidence.at_common_end(pair, "icl_windowed") for pair in pairs]
    more = evidence.over_seeds([plain_N - smeared_N for smeared_N, plain_N in finals])
    with_smeared, with_plain = (sum(evidence.window(pair[at]) is not None for pair in pairs) for at in (0, 1))
    verdict = INCONCLUSIVE
    if not with_smeared:
        verdict = NOT_SUPPORTED
    elif with_smeared == len(pairs) and not with_plain:
        verdict = SUPPORTED if above(more, evidence.settings.claims.min_effect_nats) == SUPPORTED else INCONCLUSIVE
    smeared, plain = np.mean([[values_N[0] for values_N in pair] for pair in finals], axis=0)
    reason = (
        f"With smeared keys the score ends at {smeared:.2f} nats, with plain ones at {plain:.2f}; "
        f"{_windows(with_smeared, len(pairs))} with smeared keys and {_windows(with_plain, len(pairs))} with plain ones"
    )
    quantity = "final score with plain keys less that with smeared ones, nats"
    support = evidence.support(model for pair in pairs for model in pair)
    return Judgement(subject, quantity, more, verdict, reason + ending(len(pairs)), window_support=support)


def _windows(n_found: int, n_seeds: int) -> str:
    if n_seeds == 1:
        return "there is a window" if n_found else "there is no window"
    return f"there is a window in {n_found} of {n_seeds} seeds"


def _earlier(evidence: Evidence, subject: str, pairs: Pairs) -> Judgement:
    quantity = "tokens by which the window's midpoint is earlier with smeared keys"
    min_seeds = evidence.settings.claims.min_seeds
    support = evidence.support(model for pair in pairs for model in pair)
    both = [
        (midpoint(one), midpoint(other))
        for one, other in ([evidence.window(model) for model in pair] for pair in pairs)
        if one and other
    ]
    if not both:
        models = [model for pair in pairs for model in pair]
        reason = f"No seed has both windows: {evidence.no_window(models)}{ending(len(pairs))}"
        return Judgement(subject, quantity, None, INCONCLUSIVE, reason, n_seeds=len(pairs), window_support=support)
    lead = evidence.over_seeds_or_own(
        [
            Estimate(plain.value - smeared.value, plain.low - smeared.high, plain.high - smeared.low, plain.over)
            for smeared, plain in both
        ]
    )
    smeared, plain = (float(np.mean([pair[at].value for pair in both])) for at in (0, 1))
    reason = f"Midpoint at {in_millions(smeared)} tokens with smeared keys, at {in_millions(plain)} with plain ones"
    if len(both) < len(pairs):
        reason += f"; {len(pairs) - len(both)} of {len(pairs)} seeds have not both windows and are left out"
    if len(both) < min_seeds:
        reason += f"; needs {min_seeds} seeds"
    verdict = above(lead, 0) if len(both) >= min_seeds else INCONCLUSIVE
    return Judgement(subject, quantity, lead, verdict, reason + ending(len(both)), window_support=support)
