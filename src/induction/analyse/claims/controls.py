"""What else might make the change, the schedule or the corpus: claims 10 and 11.

Each raises NotTestableError where the study lacks the models.
"""

import numpy as np
from scipy import stats

from induction.analyse.claims.evidence import Architecture, Evidence, Member, midpoint, same_seeds
from induction.analyse.claims.judging import (
    Estimate,
    Judgement,
    NotTestableError,
    above,
    agreed,
    ending,
    in_millions,
    size_below,
    spanned,
)
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED
from induction.tables.repetitions import BROKEN, CONTINUED


def schedule(evidence: Evidence) -> list[Judgement]:
    """Claim 10: the window stays where it is when the warm-up is longer."""
    found = [
        (one, other, seeds)
        for one, other in evidence.pairs("warmup_steps")
        if one.fields.n_layers > 1 and (seeds := same_seeds(one, other))
    ]
    if not found:
        raise NotTestableError(
            "needs two models of two or more layers and of the same seed that differ in warmup_steps alone: none in "
            "this study; give warmup_steps of one of its families two values"
        )
    return [_schedule(evidence, f"{other.subject} against {one.subject}", seeds) for one, other, seeds in found]


def corpus(evidence: Evidence) -> list[Judgement]:
    """Claim 11: models on another corpus also have the window and the head.

    Subjects are models that differ from one on the study's first corpus in the corpus alone; without any, all models
    on other corpora.
    """
    deep = evidence.two_and_more_layers()
    first = evidence.models[0].fields.corpus
    matched = {
        other.subject: other
        for pair in evidence.pairs("corpus")
        for one, other in (pair, pair[::-1])
        if one.fields.n_layers > 1 and one.fields.corpus == first
    }
    others = list(matched.values()) or [one for one in deep if one.fields.corpus != first]
    if not others:
        raise NotTestableError(
            f"needs a model of two or more layers on another corpus than {first}: none in this study; add a family "
            "that differs in its corpus alone"
        )
    return [_corpus(evidence, one, bool(matched)) for one in others]


def _schedule(evidence: Evidence, subject: str, seeds: list[tuple[Member, Member]]) -> Judgement:
    quantity = "tokens by which the window's midpoint moves, for each by which the warm-up's end moves"
    ends = [model.fields.warmup_steps * model.fields.tokens_per_step for model in seeds[0]]
    moved = f"The warm-up ends at {in_millions(ends[0])} and {in_millions(ends[1])} tokens"
    windows = [[evidence.window(model) for model in pair] for pair in seeds]
    support = evidence.support(model for pair in seeds for model in pair)
    n_one_only = sum((one is None) != (other is None) for one, other in windows)
    both = [(midpoint(one), midpoint(other)) for one, other in windows if one and other]
    if not both and not n_one_only:
        models = [model for pair in seeds for model in pair]
        reason = f"{moved}, and neither has a window: {evidence.no_window(models)}{ending(len(seeds))}"
        return Judgement(subject, quantity, None, INCONCLUSIVE, reason, n_seeds=len(seeds), window_support=support)
    verdicts = [NOT_SUPPORTED] * n_one_only
    estimate = None
    if both:
        estimate = evidence.over_seeds_or_own([_move(*pair, by=ends[1] - ends[0]) for pair in both])
        verdicts.append(size_below(estimate, evidence.settings.claims.half))
        before, after = (float(np.mean([pair[place].value for pair in both])) for place in (0, 1))
        moved += f", the window's midpoints lie at {in_millions(before)} and {in_millions(after)}"
        if before > ends[0] and after > ends[1]:
            weighted = in_millions(before - ends[0] / 2), in_millions(after - ends[1] / 2)
            moved += f" (tokens weighted by the learning rate, linear in the warm-up: {weighted[0]} and {weighted[1]})"
    if n_one_only:
        moved += f"; in {n_one_only} of {len(seeds)} seeds only one of the two has a window"
    return Judgement(
        subject,
        quantity,
        estimate,
        agreed(verdicts),
        moved + ending(len(seeds)),
        n_seeds=len(seeds),
        window_support=support,
    )


def _move(one: Estimate, other: Estimate, by: float) -> Estimate:
    """Return how far a midpoint moves for each token of `by`, at least and at most as both intervals permit."""
    low, high = sorted(((other.low - one.high) / by, (other.high - one.low) / by))
    return Estimate((other.value - one.value) / by, low, high, one.over)


def _corpus(evidence: Evidence, one: Architecture, matched: bool) -> Judgement:
    bound = evidence.settings.heads.induction_prefix_matching
    windows = evidence.windows(one.models)
    heads = evidence.over_seeds_or_own([_best_prefix_matching(evidence, model) for model in one.models])
    rises = above(heads, bound)
    if len(windows) == len(one.models) and rises == SUPPORTED:
        verdict = SUPPORTED
    else:
        verdict = NOT_SUPPORTED if not windows and rises == NOT_SUPPORTED else INCONCLUSIVE
    if windows:
        said = f"On {one.fields.corpus} there is a window at "
        said += in_millions(*spanned([(row["start_tokens"], row["end_tokens"]) for row in windows])) + " tokens"
        said += "" if len(one.models) == 1 else f", in {len(windows)} of {len(one.models)} seeds"
    else:
        said = f"On {one.fields.corpus} there is no window: {evidence.no_window(one.models)}"
    said += f"; the best head's prefix matching ends at {heads.value:.2f}, against {bound:g}"
    said += _repetition(evidence, one)
    said += "" if matched else "; no model of the first corpus is alike in all else"
    quantity = "prefix matching of the best head at the last snapshot"
    support = evidence.support(one.models)
    return Judgement(one.subject, quantity, heads, verdict, said + ending(len(one.models)), window_support=support)


def _repetition(evidence: Evidence, one: Architecture) -> str:
    """Say how much an induction head can gain on each corpus: how often what followed a token earlier follows again."""
    corpora = list(dict.fromkeys([evidence.models[0].fields.corpus, one.fields.corpus]))
    told = []
    for corpus in corpora:
        on_corpus = [model for model in evidence.models if model.fields.corpus == corpus]
        frames = [rows for model in on_corpus if len(rows := evidence.last("repetitions", model))]
        if not frames:
            return ""
        counts = dict(frames[0].select("class", "n_tokens").iter_rows())
        repeated = counts.get(CONTINUED, 0) + counts.get(BROKEN, 0)
        if not repeated:
            return ""
        told.append(f"{counts.get(CONTINUED, 0) / repeated:.0%} on {corpus}")
    return f"; after a token that stood earlier in the example, what followed it follows again {', '.join(told)}"


def _best_prefix_matching(evidence: Evidence, model: Member) -> Estimate:
    """Return the best head's prefix matching at the last snapshot, with its interval over the probe's sequences."""
    heads = evidence.last("heads", model)
    if heads.is_empty():
        raise NotTestableError(f"needs the scores of the heads of {model.name}: none are given")
    best = heads.sort("prefix_matching", "layer", "head").row(-1, named=True)
    value = float(best["prefix_matching"])
    half = float(stats.norm.ppf((1 + evidence.settings.bootstrap.confidence) / 2)) * float(best["prefix_matching_se"])
    return Estimate(value, value - half, value + half, "examples")
