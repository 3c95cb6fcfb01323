"""Which tokens the change makes better and worse: claim 13."""

import polars as pl

from induction.analyse.claims.evidence import Architecture, Evidence, Member
from induction.analyse.claims.judging import Estimate, Judgement, NotTestableError, above, agreed, below, ending
from induction.tables.claims import INCONCLUSIVE
from induction.tables.repetitions import BROKEN, CONTINUED


def repetitions(evidence: Evidence) -> list[Judgement]:
    """Claim 13: over the window, tokens that continue a repetition get better, those that break one worse.

    Raises:
        NotTestableError: the study lacks the models, or the table.
    """
    deep = evidence.two_and_more_layers()
    if evidence.tables["repetitions"].is_empty():
        raise NotTestableError("needs table repetitions, of which nothing was given")
    return [_repetitions(evidence, one) for one in deep]


def _repetitions(evidence: Evidence, one: Architecture) -> Judgement:
    quantity = "change of the loss of continued repetitions over the window, nats"
    changes = [found for model in one.models if (found := _changes(evidence, model))]
    if not evidence.windows(one.models):
        return evidence.without_window(one, quantity)
    if not changes:
        why = "Table repetitions tells of no continued or of no broken repetitions over the window"
        return Judgement(
            one.subject,
            quantity,
            None,
            INCONCLUSIVE,
            why + ending(len(one.models)),
            n_seeds=len(one.models),
            window_support=evidence.support(one.models),
        )
    continued, broken = (evidence.over_seeds_or_own(estimates) for estimates in zip(*changes, strict=True))
    reason = (
        f"Over the window the loss of continued repetitions changes by {_told(continued)} nats, that of broken ones by "
        f"{_told(broken)}{evidence.left_out(one.models)}{ending(len(changes))}"
    )
    verdict = agreed([below(continued, 0), above(broken, 0)])
    return Judgement(one.subject, quantity, continued, verdict, reason, window_support=evidence.support(one.models))


def _changes(evidence: Evidence, model: Member) -> tuple[Estimate, Estimate] | None:
    """Return the change of continued and of broken repetitions from the window's start to its end, nats."""
    if (window := evidence.window(model)) is None:
        return None
    rows = evidence.rows("repetitions", model).filter(
        pl.col("step") == window["end_step"], pl.col("change").is_not_null()
    )
    by_class = {row["class"]: row for row in rows.iter_rows(named=True)}
    if not {CONTINUED, BROKEN} <= set(by_class):
        return None
    continued, broken = (
        Estimate(row["change"], row["change_low"], row["change_high"], "examples")
        for row in (by_class[CONTINUED], by_class[BROKEN])
    )
    return continued, broken


def _told(change: Estimate) -> str:
    return f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
