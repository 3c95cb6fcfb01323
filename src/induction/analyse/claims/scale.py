"""What models of several sizes have in common: claims 24 to 26 and 29.

Sizes are architectures of one family, of two and more layers, with plain keys, that differ in their parameters and are
alike in all else, their training included.

Suffix letters: S snapshot, M model, N the sample itself and then its resamples.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from induction.analyse.claims import formation, together
from induction.analyse.claims.evidence import Architecture, Evidence, Member
from induction.analyse.claims.judging import (
    Agreement,
    Estimate,
    Judgement,
    NotTestableError,
    above,
    chance_of_as_many,
    ending,
    in_millions,
    most_marginal,
    size_below,
)
from induction.analyse.claims.judging import together as all_of
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

Floats = NDArray[np.float64]

_SIZE = {"n_layers", "d_model", "n_heads", "d_head", "d_mlp", "n_local_heads", "seed"} | {
    "learning_rate", "batch_growth", "n_steps", "snapshots", "block_snapshots", "ablated_examples",
}  # fmt: skip
"""Fields in which sizes differ: their shape, what is chosen by it, and when and how they are looked at."""

OTHER_INDICES = ((10, 500), (50, 200), (100, 500))
"""Early and late token, 1-based, of other scores of in-context learning."""

Models = tuple[Member, ...]
"""Models of all sizes that are compared with each other; mostly one of each size."""


def final_score(evidence: Evidence) -> list[Judgement]:
    """Claim 24: the final score of the largest size less that of the smallest, along a line over ln(parameters).

    Raises:
        NotTestableError: no family has three sizes.
    """
    found = []
    for sizes in _sizes(evidence, least=3):
        compared = _compared(sizes)
        estimate = evidence.over_seeds(
            [_rise(models) @ _final(evidence, models, "icl_windowed") for models in compared]
        )
        others = [
            f"{rise:+.2f} nats between tokens {early} and {late}"
            for early, late in OTHER_INDICES
            if (rise := _rise_of_indices(evidence, compared, early, late)) is not None
        ]
        reason = (
            f"From {_size(sizes[0])} to {_size(sizes[-1])} parameters the final score changes by {estimate.value:+.2f} "
            f"nats along a line{_by_other_indices(others)}{ending(estimate.n_seeds)}"
        )
        found.append(
            Judgement(
                _subject(sizes),
                "final score of the largest size less that of the smallest, nats",
                estimate,
                size_below(estimate, evidence.settings.claims.min_effect_nats),
                reason,
            )
        )
    return found


def _rise(models: Models) -> Floats:
    """Return the weights of models in the rise of a line, fitted over ln(parameters), from smallest to largest, [M]."""
    x_M = np.log([model.fields.n_parameters for model in models])
    x_M -= x_M.mean()
    return np.asarray(x_M / (x_M @ x_M) * np.ptp(x_M))


def _final(evidence: Evidence, models: Models, column: str) -> Floats:
    """Return a column of table `replicates` at the models' last snapshots, [M, N]."""
    return np.stack([evidence.curve(model, column).together()[-1] for model in models])


def _rise_of_indices(evidence: Evidence, compared: Sequence[Models], early: int, late: int) -> float | None:
    """Return the rise of another score, nats, mean over seeds; none if examples are shorter."""
    rises = []
    for models in compared:
        loss_MI = [evidence.last("curves", model)["loss_by_index"].to_numpy()[0] for model in models]
        if min(map(len, loss_MI)) < late:
            return None
        rises.append(_rise(models) @ [loss_I[late - 1] - loss_I[early - 1] for loss_I in loss_MI])
    return float(np.mean(rises))


def _by_other_indices(others: Sequence[str]) -> str:
    return f". The same is {', '.join(others)}" if others else ""


def first_tokens(evidence: Evidence) -> list[Judgement]:
    """Claim 25: the loss gap between the largest and the smallest size at token 10 over that at the late index.

    Raises:
        NotTestableError: no family has two sizes.
    """
    quantity = "loss gap between largest and smallest size at token 10 over that at the late index"
    found = []
    for sizes in _sizes(evidence, least=2):
        compared = _compared([sizes[0], sizes[-1]])
        ten, late = (
            [-_rise(models) @ _final(evidence, models, column) for models in compared]
            for column in ("loss_at_ten", "loss_late")
        )
        late_gap = evidence.over_seeds(late)
        reason = (
            f"At token 10 the loss with {_size(sizes[-1])} parameters is {np.mean([gap_N[0] for gap_N in ten]):.2f} "
            f"nats less than with {_size(sizes[0])}, late in the context {late_gap.value:.2f} nats less"
        )
        n_seeds = late_gap.n_seeds
        if late_gap.low <= 0 or min(gap_N[0] for gap_N in late) <= 0:
            reason += f"; that may be no gap, so there is no share of it{ending(n_seeds)}"
            found.append(Judgement(_subject(sizes), quantity, None, INCONCLUSIVE, reason, n_seeds=n_seeds))
            continue
        shares = [
            np.divide(ten_N, late_N, out=np.full(len(late_N), np.nan), where=late_N > 0)
            for ten_N, late_N in zip(ten, late, strict=True)
        ]
        estimate = evidence.over_seeds(shares)
        verdict = above(estimate, evidence.settings.claims.half)
        found.append(Judgement(_subject(sizes), quantity, estimate, verdict, reason + ending(n_seeds)))
    return found


def order_flips(evidence: Evidence) -> list[Judgement]:
    """Claim 26: whether larger models' losses fall faster before the change and slower after it, or back.

    How fast a loss falls is its least-squares slope over ln(tokens): over all snapshots before the first of the sizes'
    windows, and over all after the last.

    Raises:
        NotTestableError: no family has three sizes of which one has a window.
    """
    found = []
    for sizes in _sizes(evidence, least=3):
        windows = evidence.windows(model for one in sizes for model in one.models)
        if windows:
            found.append(_flip(evidence, sizes, windows))
    if not found:
        raise NotTestableError(
            "needs a window in the in-context learning of three sizes of one family: none in this study; train longer"
        )
    return found


def _flip(evidence: Evidence, sizes: Sequence[Architecture], windows: Sequence[dict[str, Any]]) -> Judgement:
    quantity = "rank correlation of size and how fast the loss falls, after the change less before it"
    start = min(window["start_tokens"] for window in windows)
    end = max(window["end_tokens"] for window in windows)
    support = evidence.support(model for one in sizes for model in one.models)
    compared = _compared(sizes)
    before, after = (
        [order for models in compared if (order := _order(evidence, models, *stretch)) is not None]
        for stretch in ((0.0, start), (end, math.inf))
    )
    if len(before) < len(compared) or len(after) < len(compared):
        n_seeds = len(compared)
        reason = (
            f"Some model has fewer than two snapshots before the first window, from {in_millions(start)} tokens on, or "
            f"after the last, until {in_millions(end)} tokens{ending(n_seeds)}"
        )
        return Judgement(_subject(sizes), quantity, None, INCONCLUSIVE, reason, n_seeds=n_seeds, window_support=support)
    first, last = evidence.over_seeds(before), evidence.over_seeds(after)
    change = evidence.over_seeds([last_N - first_N for first_N, last_N in zip(before, after, strict=True)])
    signs = [above(first, 0), above(last, 0)]
    verdict = INCONCLUSIVE if INCONCLUSIVE in signs else NOT_SUPPORTED if signs[0] == signs[1] else SUPPORTED
    reason = (
        f"The rank correlation of size and how fast the loss falls is {first.value:.2f} before {in_millions(start)} "
        f"tokens, and {last.value:.2f} after {in_millions(end)} tokens{ending(change.n_seeds)}"
    )
    return Judgement(_subject(sizes), quantity, change, verdict, reason, window_support=support)


def _order(evidence: Evidence, models: Models, start: float, end: float) -> Floats | None:
    """Return the rank correlation of size and how fast the loss falls between two counts of tokens, [N].

    None if a model has fewer than two snapshots there, that without training not counted.
    """
    speeds = []
    for model in models:
        curve = evidence.curve(model, "loss")
        inside_S = (curve.tokens_S > 0) & (curve.tokens_S >= start) & (curve.tokens_S <= end)
        if inside_S.sum() < 2:
            return None
        x_S = np.log(curve.tokens_S[inside_S])
        x_S -= x_S.mean()
        speeds.append(-(x_S @ curve.together()[inside_S]) / (x_S @ x_S))
    size_M, speed_MN = stats.rankdata([model.fields.n_parameters for model in models]), stats.rankdata(speeds, axis=0)
    size_M, speed_MN = size_M - size_M.mean(), speed_MN - speed_MN.mean(axis=0)
    return np.asarray(size_M @ speed_MN / np.sqrt((size_M @ size_M) * (speed_MN**2).sum(axis=0)))


def signature(evidence: Evidence) -> list[Judgement]:
    """Claim 29: the share of sizes at which claims 1, 6 and 9 agree with the window, and by chance how often all would.

    That of a size alone does not count against chance: one run shows little. The claim needs all of 1, 6 and 9, so the
    greatest of their three chances is its own, with no need of an adjustment for three (an intersection-union test).

    Raises:
        NotTestableError: no family has three sizes.
    """
    groups = _sizes(evidence, least=3)
    judged = {
        claim: _by_subject(judge, evidence)
        for claim, judge in ((1, formation.abrupt), (6, together.prefix_matching), (9, together.pivot))
    }
    return evidence.by_chance([_signature(evidence, sizes, judged) for sizes in groups])


def _signature(
    evidence: Evidence, sizes: Sequence[Architecture], judged: Mapping[int, Mapping[str, Judgement]]
) -> Judgement:
    of_sizes, exceptions = [], []
    for one in sizes:
        of_claims = {claim: _agrees(said.get(one.subject)) for claim, said in judged.items()}
        of_sizes.append(all_of(list(of_claims.values())))
        exceptions += [
            f"claim {claim} of {one.subject} is {said}" for claim, said in of_claims.items() if said != SUPPORTED
        ]
    n_seeds = min(len(one.models) for one in sizes)
    share = of_sizes.count(SUPPORTED) / len(sizes)
    reason = f"Claims 1, 6 and 9 agree with the window at {of_sizes.count(SUPPORTED)} of {len(sizes)} sizes"
    if exceptions:
        reason += f". Elsewhere: {', '.join(exceptions)}"
    chances = {claim: _chance_over(sizes, said) for claim, said in judged.items()}
    known = [chance for chance in chances.values() if chance is not None]
    if len(known) == len(chances):
        reason += ". At random times as many models would agree with probability "
        reason += ", ".join(f"{chance:.2g} (claim {claim})" for claim, chance in chances.items())
    supports = [found.window_support for said in judged.values() for found in _of(sizes, said)]
    reason += ending(n_seeds)
    verdict = all_of(of_sizes)
    return Judgement(
        _subject(sizes),
        "share of sizes at which claims 1, 6 and 9 agree with the window",
        Estimate(share, share, share, "none", n_seeds),
        verdict,
        reason,
        window_support=most_marginal(supports, evidence.settings.phases.min_support),
        agreement=Agreement(verdict, (max(known),) if len(known) == len(chances) else (), 1, reason),
    )


def _agrees(judgement: Judgement | None) -> str:
    """Return what a judgement says before chance is considered; inconclusive if there is none."""
    if judgement is None:
        return INCONCLUSIVE
    return judgement.agreement.verdict if judgement.agreement else judgement.verdict


def _of(sizes: Sequence[Architecture], said: Mapping[str, Judgement]) -> list[Judgement]:
    return [said[one.subject] for one in sizes if one.subject in said]


def _chance_over(sizes: Sequence[Architecture], said: Mapping[str, Judgement]) -> float | None:
    """Return how probable it is that as many models of these sizes agree at random times; None without any."""
    agreements = [found.agreement for found in _of(sizes, said) if found.agreement]
    chances = [chance for one in agreements for chance in one.chances]
    return chance_of_as_many(chances, sum(one.n_agreed for one in agreements)) if chances else None


def _by_subject(judge: Callable[[Evidence], Iterable[Judgement]], evidence: Evidence) -> dict[str, Judgement]:
    """Return a claim's judgement of each subject; none if the study cannot test it."""
    try:
        return {judgement.subject: judgement for judgement in judge(evidence)}
    except NotTestableError:
        return {}


def _sizes(evidence: Evidence, least: int) -> list[list[Architecture]]:
    """Return the sizes of each family that has so many, from small to large.

    Raises:
        NotTestableError: none has.
    """
    series: dict[tuple[str, str], list[Architecture]] = {}
    for one in evidence.deep():
        if not one.fields.smeared_keys:
            alike = one.fields.model_dump_json(exclude=_SIZE)
            series.setdefault((one.models[0].family, alike), []).append(one)
    if found := [sorted(sizes, key=_parameters) for sizes in series.values() if _n_distinct(sizes) >= least]:
        return found
    most = max(map(_n_distinct, series.values()), default=0)
    raise NotTestableError(
        f"needs {least} sizes of two or more layers, with plain keys, in one family: {most} in this study; add values "
        "to n_layers or d_model of a family with smeared_keys: false"
    )


def _parameters(one: Architecture) -> int:
    return one.fields.n_parameters


def _n_distinct(sizes: Sequence[Architecture]) -> int:
    return len(set(map(_parameters, sizes)))


def _size(one: Architecture) -> str:
    return in_millions(_parameters(one))


def _subject(sizes: Sequence[Architecture]) -> str:
    return f"{sizes[0].models[0].label}, {_n_distinct(sizes)} sizes"


def _compared(sizes: Sequence[Architecture]) -> list[Models]:
    """Return the models of each seed that all sizes have; if there is none, all models, in one comparison."""
    by_seed = [{model.fields.seed: model for model in one.models} for one in sizes]
    shared = sorted(set.intersection(*(set(models) for models in by_seed)))
    if not shared:
        return [tuple(model for one in sizes for model in one.models)]
    return [tuple(models[seed] for models in by_seed) for seed in shared]
