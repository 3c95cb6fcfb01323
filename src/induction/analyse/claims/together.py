"""What changes in the window of in-context learning: claims 6 to 9, each by an independent change point.

Seeds are judged one by one, and what they agree on is the verdict; an agreement supports a claim only where chance does
not explain it. Each raises NotTestableError where the study lacks the models.

Suffix letters: S snapshot, R resample.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from induction.analyse.claims.evidence import Architecture, Evidence, Member, midpoint, reach, same_seeds
from induction.analyse.claims.judging import (
    Agreement,
    Estimate,
    Judgement,
    NotTestableError,
    agreed,
    chance_of_overlap,
    ending,
    in_millions,
    most_marginal,
    overlap,
    spanned,
)
from induction.analyse.phases import Signal, search, window_row
from induction.analyse.windows import NoWindow, Window, falling_window
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

Floats = NDArray[np.float64]

N_SHUFFLES = 5000
_MIN_MODELS = 3
_MIN_BUMPS = 1 / 20
"""Claim 7: share of the resamples below which the loss has no bump."""


class ChangePoint(NamedTuple):
    """Where a signal changes; or, if it does not, what that means for the claim, and why."""

    row: dict[str, Any] | None
    """As in table `phases`."""
    verdict: str = SUPPORTED
    why: str = ""
    support: float | None = None
    """Share of the resamples in which it changes."""


class Beside(NamedTuple):
    """A model's window of in-context learning and the stretch of another change, tokens."""

    window: tuple[float, float]
    change: tuple[float, float]


def prefix_matching(evidence: Evidence) -> list[Judgement]:
    """Claim 6: the best head's prefix matching changes in the window."""

    def point(model: Member) -> ChangePoint:
        row = evidence.window(model, "prefix_matching")
        why, support = evidence.no_window([model], "prefix_matching"), evidence.support([model], "prefix_matching")
        return ChangePoint(row, NOT_SUPPORTED, why, support)

    deep = evidence.two_and_more_layers()
    judged = _compared(evidence, "prefix matching", deep, point)
    return [
        _with_any_head(evidence, one, found) if found.verdict == NOT_SUPPORTED else found
        for one, found in zip(deep, judged, strict=True)
    ]


def _with_any_head(evidence: Evidence, one: Architecture, judgement: Judgement) -> Judgement:
    """Add where the highest prefix matching of any head rises: the head that is best at the end may come later."""
    rules = evidence.settings.phases
    found = []
    for model in one.models:
        curves = evidence.rows("curves", model)
        tokens_S, best_S = (curves[name].to_numpy().astype(np.float64) for name in ("tokens", "best_prefix_matching"))
        rise = falling_window(tokens_S, -best_S, rules.min_score_rise, rules)
        if isinstance(rise, Window):
            found.append((rise.start, rise.end))
    where = f"rises at {in_millions(*spanned(found))} tokens" if found else "has no window either"
    said = f". The head that is best at the end is followed; the highest score of any head {where}"
    agreement = judgement.agreement
    return judgement._replace(
        reason=judgement.reason + said, agreement=agreement and agreement._replace(reason=agreement.reason + said)
    )


def bump(evidence: Evidence) -> list[Judgement]:
    """Claim 7: the bump of the loss lies in the window."""

    def point(model: Member) -> ChangePoint:
        rows = evidence.rows("phases", model).filter(signal="loss").to_dicts()
        if not rows:
            return ChangePoint(None, INCONCLUSIVE, "its windows were not looked for")
        verdict = NOT_SUPPORTED if rows[0]["support"] < _MIN_BUMPS else INCONCLUSIVE
        said = f"{rows[0]['reason']} (a bump in {rows[0]['support']:.0%} of the resamples)"
        return ChangePoint(rows[0] if rows[0]["found"] else None, verdict, said, rows[0]["support"])

    deep = evidence.two_and_more_layers()
    return _compared(evidence, "the bump of the loss", deep, point)


def departure(evidence: Evidence) -> list[Judgement]:
    """Claim 8: the loss departs from that of one layer in the window.

    Of plain keys alone: with smeared keys a single layer has the change itself (claim 14).
    """
    deep = [one for one in evidence.two_and_more_layers() if not one.fields.smeared_keys]
    single = _single_layers(evidence)
    with_single = [
        Architecture(one.subject, models)
        for one in deep
        if (models := tuple(model for model in one.models if model.name in single))
    ]
    if not with_single:
        like = deep[0].models[0].name if deep else "a model with plain keys"
        raise NotTestableError(
            f"needs a model of one layer with plain keys that is otherwise like one of two and more ({like}), the seed "
            "included: none in this study; add 1 to n_layers of a family with smeared_keys: false"
        )
    points = {
        model.name: _departure(evidence, model, single[model.name]) for one in with_single for model in one.models
    }
    return _compared(evidence, "the departure from one layer", with_single, lambda model: points[model.name])


def pivot(evidence: Evidence) -> list[Judgement]:
    """Claim 9: the trajectory in the space of losses pivots in the window."""
    deep = evidence.two_and_more_layers()
    if evidence.tables["pca"].is_empty():
        raise NotTestableError("needs table pca, of which nothing was given")
    pivots = {
        model.name: found for one in deep for model in one.models if (found := _pivots(evidence, model)) is not None
    }
    shuffled = _shuffled(
        [Beside(found.stretch, found.sharpest) for found in pivots.values() if found.sharpest], "the sharpest pivots"
    )
    return evidence.by_chance(
        [
            _pivoting(evidence, one, [pivots[model.name] for model in one.models if model.name in pivots], shuffled)
            for one in deep
        ]
    )


def permuted(pairs: Sequence[Beside], n_shuffles: int = N_SHUFFLES, seed: int = 0) -> float:
    """Return how often as many models' windows overlap another model's change as overlap their own.

    Models' changes are dealt out anew among them, in every way there is, or, if there are more than `n_shuffles`, in
    that many random ones and the one that was seen.
    """
    fits = np.array([[overlap(one.window, other.change) for other in pairs] for one in pairs])
    if math.factorial(len(pairs)) <= n_shuffles:
        deals = np.array(list(permutations(range(len(pairs)))))
    else:
        random = np.random.default_rng(seed)
        deals = np.array([np.arange(len(pairs)), *(random.permutation(len(pairs)) for _ in range(n_shuffles))])
    counts = fits[np.arange(len(pairs)), deals].sum(axis=1)
    return float(np.mean(counts >= np.trace(fits)))


def _compared(
    evidence: Evidence, name: str, subjects: Sequence[Architecture], point: Callable[[Member], ChangePoint]
) -> list[Judgement]:
    """Compare a signal's change points with the windows of in-context learning, in every architecture."""
    points = {model.name: point(model) for one in subjects for model in one.models}
    both = [
        Beside(reach(window), reach(row))
        for one in subjects
        for model in one.models
        if (window := evidence.window(model)) and (row := points[model.name].row)
    ]
    shuffled = _shuffled(both, name)
    return evidence.by_chance([_beside_window(evidence, name, one, points, shuffled) for one in subjects])


def _beside_window(
    evidence: Evidence, name: str, one: Architecture, points: Mapping[str, ChangePoint], shuffled: str
) -> Judgement:
    windows = {model: window for model in one.models if (window := evidence.window(model))}
    if not windows:
        return evidence.without_window(one, _distance_of(name))
    both = {model: (window, row) for model, window in windows.items() if (row := points[model.name].row)}
    inside = {model: overlap(reach(window), reach(row)) for model, (window, row) in both.items()}
    verdicts = [
        points[model.name].verdict if model not in both else SUPPORTED if inside[model] else NOT_SUPPORTED
        for model in windows
    ]
    lacking = [points[model.name].why for model in windows if model not in both]
    said = f"Window {_span_of(windows.values())} tokens"
    if both:
        said += f", {name} {_span_of([row for _, row in both.values()])}: {_overlap_in(list(inside.values()))}"
    if lacking:
        said += f"; {name} has no change point{_in_seeds(len(lacking), len(windows))}: {lacking[0]}"
    chances = [
        chance_of_overlap(reach(window), reach(row)[1] - reach(row)[0], evidence.training(model))
        for model, (window, row) in both.items()
    ]
    reason = said + evidence.left_out(one.models) + shuffled + ending(len(windows))
    supports = [evidence.support(one.models), *(points[model.name].support for model in windows)]
    return Judgement(
        one.subject,
        _distance_of(name),
        evidence.over_seeds_or_own([_distance(row, window) for window, row in both.values()]) if both else None,
        agreed(verdicts),
        reason,
        n_seeds=len(windows),
        window_support=most_marginal(supports, evidence.settings.phases.min_support),
        agreement=Agreement(agreed(verdicts), tuple(chances), sum(inside.values()), reason),
    )


def _distance_of(name: str) -> str:
    return f"midpoint of {name} less that of the window, tokens"


def _distance(change: dict[str, Any], window: dict[str, Any]) -> Estimate:
    """Return how far the one midpoint lies after the other, at most and at least as far as both intervals permit."""
    one, other = midpoint(change), midpoint(window)
    return Estimate(one.value - other.value, one.low - other.high, one.high - other.low, one.over)


def _span_of(windows: Any) -> str:
    return in_millions(*spanned([(row["start_tokens"], row["end_tokens"]) for row in windows]))


def _overlap_in(inside: Sequence[bool]) -> str:
    said = "they are disjoint" if inside == [False] else f"they overlap{_in_seeds(sum(inside), len(inside))}"
    return f"{said}, intervals included"


def _shuffled(pairs: Sequence[Beside], name: str) -> str:
    """Return what shuffling the changes among all models shows, in words; nothing if there are too few models."""
    if len(pairs) < _MIN_MODELS:
        return ""
    own = sum(overlap(*pair) for pair in pairs)
    return (
        f"; of all {len(pairs)} models with both, {own} overlap, and as many do in {permuted(pairs):.1%} of the "
        f"permutations of {name} among them"
    )


def _single_layers(evidence: Evidence) -> dict[str, Member]:
    """Return the counterpart of one layer of each model, by the model's name; it has the same seed and corpus."""
    found: dict[str, Member] = {}
    for pair in evidence.pairs("n_layers"):
        single, deep = sorted(pair, key=lambda one: one.fields.n_layers)
        if single.fields.n_layers == 1 and deep.fields.n_layers > 1:
            found |= {two.name: one for one, two in same_seeds(single, deep)}
    return found


def _departure(evidence: Evidence, model: Member, single: Member) -> ChangePoint:
    """Find where the loss less that of the single layer falls fastest, over the training that both have."""
    of_two, of_one = evidence.curve(model, "loss"), evidence.curve(single, "loss")
    shared_S = (of_one.tokens_S[0] <= of_two.tokens_S) & (of_two.tokens_S <= of_one.tokens_S[-1])
    tokens_S = of_two.tokens_S[shared_S]
    of_one_NS = np.array([np.interp(tokens_S, of_one.tokens_S, value_S) for value_S in of_one.together().T])
    gap_NS = of_two.together().T[:, shared_S] - of_one_NS
    settings = evidence.settings

    def find(gap_S: Floats) -> Window | NoWindow:
        return falling_window(tokens_S, gap_S, settings.phases.min_bump_nats, settings.phases)

    found = search(Signal("departure", gap_NS[0], gap_NS[1:], find))
    steps_S = evidence.rows("curves", model)["step"].to_numpy()[shared_S]
    row = window_row(found, steps_S, tokens_S, settings.bootstrap.confidence, settings.phases.min_support)
    return ChangePoint(row if row["found"] else None, INCONCLUSIVE, row["reason"], found.support)


class _Pivots(NamedTuple):
    """The turns of a model with a window.

    Attributes:
        verdict: of the claim.
        stretch: the window, widened by one snapshot on both sides, tokens.
        greatest: the turn in it that decides, degrees.
        at: tokens of that turn.
        sharpest: the place of the sharpest certain pivot of the whole training, twice; none without any.
        chance: share of the stretches of training as long as that one that contain a certain pivot.
    """

    verdict: str
    stretch: tuple[float, float]
    greatest: Estimate
    at: float
    sharpest: tuple[float, float] | None
    chance: float


def _pivots(evidence: Evidence, model: Member) -> _Pivots | None:
    """Judge the turns of a model; none without a window, or if nothing in it has a turn."""
    window, rows = evidence.window(model), evidence.rows("pca", model)
    if window is None or rows.is_empty():
        return None
    bound = evidence.settings.claims.min_turn_degrees
    tokens_S = rows["tokens"].to_numpy().astype(np.float64)
    turn_S, low_S, high_S = (
        rows[name].cast(float).fill_null(-np.inf).to_numpy() for name in ("turn", "turn_low", "turn_high")
    )
    padded = np.pad(turn_S, 1, constant_values=-np.inf)
    corner_S = (turn_S >= bound) & (turn_S > padded[:-2]) & (turn_S > padded[2:])
    sure_S = corner_S & (low_S > bound)
    first = max(int(np.searchsorted(tokens_S, window["start_tokens"])) - 1, 0)
    last = min(int(np.searchsorted(tokens_S, window["end_tokens"], side="right")), len(tokens_S) - 1)
    inside = slice(first, last + 1)
    if np.isneginf(turn_S[inside]).all():
        return None
    undecided = INCONCLUSIVE if (high_S[inside] >= bound).any() else NOT_SUPPORTED
    corners_first_S = np.where(corner_S, 180 + low_S, turn_S)
    decisive = first + int(corners_first_S[inside].argmax())
    sharpest = float(tokens_S[np.where(sure_S, low_S, -np.inf).argmax()])
    return _Pivots(
        verdict=SUPPORTED if sure_S[inside].any() else undecided,
        stretch=(float(tokens_S[first]), float(tokens_S[last])),
        greatest=Estimate(float(turn_S[decisive]), float(low_S[decisive]), float(high_S[decisive]), "examples"),
        at=float(tokens_S[decisive]),
        sharpest=(sharpest, sharpest) if sure_S.any() else None,
        chance=_share_with(tokens_S, sure_S, float(tokens_S[last] - tokens_S[first])),
    )


def _share_with(tokens_S: Floats, pivot_S: NDArray[np.bool_], length: float) -> float:
    """Return the share of the stretches of this length that contain a pivot, slid over the snapshots.

    A stretch weighs as much as the training up to the next snapshot from which one begins: where snapshots are close,
    stretches are many.
    """
    begins = np.flatnonzero(tokens_S + length <= tokens_S[-1])
    has = [pivot_S[(tokens_S >= tokens_S[at]) & (tokens_S <= tokens_S[at] + length)].any() for at in begins]
    return float(np.average(has, weights=np.diff(np.append(tokens_S[begins], tokens_S[begins[-1] + 1]))))


def _pivoting(evidence: Evidence, one: Architecture, found: Sequence[_Pivots], shuffled: str) -> Judgement:
    quantity = "the most certain turn of the trajectory in the window, degrees"
    if not evidence.windows(one.models):
        return evidence.without_window(one, quantity)
    if not found:
        reason = f"Table pca has no turn in the window{ending(len(one.models))}"
        support = evidence.support(one.models)
        return Judgement(
            one.subject, quantity, None, INCONCLUSIVE, reason, n_seeds=len(one.models), window_support=support
        )
    greatest = evidence.over_seeds_or_own([pivots.greatest for pivots in found])
    n_sure = sum(pivots.verdict == SUPPORTED for pivots in found)
    stretch = in_millions(*spanned([pivots.stretch for pivots in found]))
    reason = (
        f"In the window and one snapshot around it, {stretch} tokens, the "
        f"trajectory turns by {greatest.value:.0f} degrees ({greatest.low:.0f} to {greatest.high:.0f})"
        f"{'' if len(found) > 1 else f' at {in_millions(found[0].at)}'}, {_sure_in(n_sure, len(found))}"
    )
    verdict = agreed([pivots.verdict for pivots in found])
    reason += evidence.left_out(one.models) + shuffled + ending(len(found))
    return Judgement(
        one.subject,
        quantity,
        greatest,
        verdict,
        reason,
        window_support=evidence.support(one.models),
        agreement=Agreement(verdict, tuple(pivots.chance for pivots in found), n_sure, reason),
    )


def _in_seeds(n_found: int, n_seeds: int) -> str:
    return "" if n_seeds == 1 else f" in {n_found} of {n_seeds} seeds"


def _sure_in(n_sure: int, n_seeds: int) -> str:
    return "no certain pivot" if n_seeds == 1 and not n_sure else f"a certain pivot{_in_seeds(n_sure, n_seeds)}"
