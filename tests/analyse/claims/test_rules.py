"""Each judge against the words of its rule: a case quotes the clause from which alone its verdict follows.

A reader of the rules, who knows no judge, could write this table. Every clause that decides has a case.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from analyse.claims import (
    test_ablated,
    test_formation,
    test_scale,
    test_scores,
    test_together,
    test_tokens_smeared,
)
from analyse.claims.planted_study import MILLION, STEPS, Change, evidence, fall, grown, member, merged, seeds, turns
from analyse.claims.test_ablated import HEADS, INDUCTION, ONE_INDUCTION, OTHER, PREVIOUS, SECOND_BEST
from analyse.claims.test_controls import HEAD, MOVED, NO_HEAD, moved, on_books, with_longer_warmup
from analyse.claims.test_scores import LAYERS, among_models, heads_of, related, sitting
from analyse.claims.test_tokens_smeared import by_class, earlier_by, with_smeared
from induction.analyse.claims.evidence import Evidence
from induction.analyse.claims.judging import Judgement, NotTestableError, summed_up, weighed
from induction.analyse.claims.registry import CLAIMS, COMMON_RULE
from induction.analyse.claims.stage import JUDGES
from induction.study.analysis import Claims
from induction.tables.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED
from induction.tables.idealised import AFTER_ONE, AFTER_TWO, PREVIOUS_TOKEN

ROOT = Path(__file__).parents[3]
ICL = Change(2 * MILLION, 3 * MILLION)
LATER = Change(5 * MILLION, 6 * MILLION)
LATE = Change(5.5 * MILLION, 7.5 * MILLION)
"""Less training follows than it took."""


class Case(NamedTuple):
    """A study, and the verdict on its only or first subject that follows from a clause of a claim's rule."""

    claim: int
    clause: str
    verdict: str | None
    """None: the study has no subject of the claim."""
    study: Callable[[], Evidence]


def two(windows=None, n_seeds=1, **curves):
    """Two layers, each seed with the same curves."""
    windows = {"icl": ICL} if windows is None else windows
    return test_formation.two_layers(lambda study: study, windows, n_seeds, **curves)


def step(base=-0.05, size=0.35):
    return lambda tokens: base + fall(2.54 * MILLION, 2.58 * MILLION, size)(tokens)


def inside(window, base=-0.05, later=0.0):
    """A score that falls by 0.35 inside a window, and then by `later`."""
    return lambda tokens: base + fall(*window[:2], 0.35)(tokens) + fall(5 * MILLION, 6 * MILLION, later)(tokens)


def changing(*changes, tables=lambda model: {}):
    return test_together.study(*changes, tables=tables)


def turning(*of_seeds):
    """A window in each seed; its turns, or none in table pca."""
    models = seeds("attn-2l", len(of_seeds))
    pairs = zip(models, of_seeds, strict=True)
    tables = [merged(grown(model, {"icl": ICL}), turns(model, sharp) if sharp else {}) for model, sharp in pairs]
    return evidence(models, merged(*tables))


def with_and_without(tables, of_second):
    """Two seeds of two layers; the second one has `of_second` in place of the first one's tables."""
    models = seeds("attn", 2)
    first, second = (tables(models[0]), of_second(models[1]))
    return evidence(models, merged(first, second))


def heads_and(table, heads=HEADS):
    return lambda model: merged(grown(model, heads=heads), table(model))


def ablated(effects, heads=ONE_INDUCTION):
    return lambda: test_ablated.attention_only(effects, heads)


def undone(of_induction, of_others):
    values = {INDUCTION: (of_induction, 0.02), PREVIOUS: (of_others, 0.02), OTHER: (-0.3, 0.02)}
    return lambda model: test_ablated.attributions(model, values)


def mlp(cost):
    effects = {INDUCTION: (cost, 0.01), SECOND_BEST: (0.9, 0.01), OTHER: (0.9, 0.01)}
    models = [member("mlp", "mlp", d_mlp=512)]
    return test_ablated.study(lambda model: test_ablated.ablations(model, effects), models)


def task(same):
    values = [(0.9, 0.9), (same, 0.5), (0.3, 0.5), (0.2, 0.6), (0.9, 0.4)]
    model = member("attn")
    return evidence([model], merged(grown(model, heads=LAYERS), test_scores.task(model, values)))


def copying(n_copying, prefix_matching=0.2, error=0.01):
    heads = [
        {"layer": 1, "head": head, "prefix_matching": prefix_matching, "prefix_matching_se": error}
        | {"copying": 0.1 if head < n_copying else -0.1}
        for head in range(10)
    ]
    return heads_of(*((member(f"m{at}", d_model=64 * (at + 1)), heads) for at in range(6)))


def in_layers(shape, n_there, n_elsewhere, there, elsewhere):
    models = [member(f"m{width}", d_model=width, **shape) for width in (64, 128, 256, 512)]
    return heads_of(*((model, sitting(n_there, n_elsewhere, there, elsewhere)) for model in models))


def deep_head(prefix_matching, copying_score, error, n_layers=17):
    head = {"layer": 16, "head": 0, "copying": copying_score, "copying_se": error}
    head |= {"prefix_matching": prefix_matching, "prefix_matching_se": error}
    return heads_of((member("deep", n_layers=n_layers), [head]))


def recovered(**shares):
    named = dict(zip((PREVIOUS_TOKEN, AFTER_ONE, AFTER_TWO), (shares[name] for name in ("p", "a", "b")), strict=True))
    known = {pattern: share for pattern, share in named.items() if share is not None}
    return test_ablated.study(lambda model: test_ablated.recovered(model, known), [member("two")])


def scores_of_sizes(per_decade):
    return test_scale.scaled(lambda model: grown(model, icl=lambda _: -0.5 + per_decade * test_scale.decade(model)))


CLEAR = (40.0, 60.0, 70.0)
UNCLEAR = (20.0, 40.0, 60.0)
SLIGHT = (5.0, 10.0, 20.0)
PREFIX = {"icl": ICL, "prefix_matching": ICL}
BUMP = {"icl": ICL, "loss": ICL}

_STEP = (
    "Supported if it is above 1, the size of the level before the step is below early_icl_nats, in-context learning "
    "after the step (minus the score) is above early_icl_nats, and the place of the step, with its interval, overlaps "
    "the window, with its interval, in every seed that has a window, and at least one has"
)
_TOO_SHORT = "Inconclusive if in some seed less training follows the window than the window took"
_ONE_WINDOW = (
    "A seed in which only one of the two has a window counts as not supported, and must agree with the verdict on the "
    "others, else the pair is inconclusive"
)
_BOTH_CLASSES = "Supported if the change of continued ones is below 0 and that of broken ones above 0"
_FAR_SIDE = "not supported if it is under `half` and its interval below `most`"
_NO_SHARE = (
    "A seed none of whose heads costs more than min_effect_nats and more than 2 standard errors has no share and is "
    "left out"
)
_FEW = (
    "A correlation over fewer than min_seeds models is inconclusive, and so is one over fewer than 4 heads or over heads "
    "that are all alike"
)
_FLIPS = "Supported if one of the two correlations is above 0 and the other below"

CASES = [
    Case(1, _STEP, SUPPORTED, lambda: two(n_seeds=4, icl=step())),
    Case(1, _STEP, INCONCLUSIVE, lambda: two(n_seeds=4, icl=step(base=-0.3))),
    Case(1, _STEP, INCONCLUSIVE, lambda: two(n_seeds=4, icl=step(size=0.08))),
    Case(1, _STEP, INCONCLUSIVE, lambda: two({"icl": LATER}, n_seeds=4, icl=step())),
    Case(1, _STEP, INCONCLUSIVE, lambda: two({}, n_seeds=4, icl=step())),
    Case(1, "Not supported if it is below 1", NOT_SUPPORTED, lambda: two(icl=lambda t: -0.4 * t / 8.19e6)),
    Case(
        1,
        "Inconclusive with fewer than 4 snapshots",
        INCONCLUSIVE,
        lambda: two(n_seeds=4, icl=step(), steps=np.array([0, 1000, 4000])),
    ),
    Case(2, "Supported if the size of the drift is below max_drift", SUPPORTED, lambda: two(icl=inside(ICL))),
    Case(2, "not supported if above", NOT_SUPPORTED, lambda: two(icl=inside(ICL, later=0.5))),
    Case(2, "not supported if above", NOT_SUPPORTED, lambda: two(icl=inside(ICL, later=-0.3))),
    Case(2, _TOO_SHORT, INCONCLUSIVE, lambda: two({"icl": LATE}, icl=inside(LATE))),
    Case(
        3,
        "Supported if the share is `most` or more and its interval above `half`",
        SUPPORTED,
        lambda: two(icl=inside(ICL)),
    ),
    Case(
        3,
        "not supported if the share is under `half` and its interval below `most`",
        NOT_SUPPORTED,
        lambda: two(icl=inside(ICL, base=-0.6)),
    ),
    Case(3, _TOO_SHORT, INCONCLUSIVE, lambda: two({"icl": LATE}, icl=inside(LATE))),
    *(
        Case(4, clause, verdict, lambda single=single: test_formation.single_and_two(single))
        for clause, verdict, single in (
            (
                "Supported if the difference is above 0 and no single layer has a window or an induction head",
                SUPPORTED,
                {},
            ),
            (
                "Not supported if every single layer has both a window and an induction head",
                NOT_SUPPORTED,
                {"changes": {"icl": ICL}, "heads": test_formation.INDUCTION},
            ),
            ("or if the difference is below 0", NOT_SUPPORTED, {"icl": lambda _: -0.6}),
            ("Else inconclusive", INCONCLUSIVE, {"changes": {"icl": ICL}, "icl": lambda _: -0.05}),
            ("Else inconclusive", INCONCLUSIVE, {"heads": test_formation.INDUCTION}),
        )
    ),
    Case(
        5,
        "Supported if the interval of the window's midpoint lies within window_tokens",
        SUPPORTED,
        lambda: test_formation.at_paper_setting(Change(1.5e9, 2.5e9, 1e8)),
    ),
    Case(
        5,
        "not supported if it lies outside",
        NOT_SUPPORTED,
        lambda: test_formation.at_paper_setting(Change(6.0e9, 7.0e9, 1e8)),
    ),
    Case(
        6,
        "Supported if it overlaps the window of in-context learning, both with their intervals",
        SUPPORTED,
        lambda: changing(*[PREFIX] * 3),
    ),
    Case(
        6,
        "Supported if it overlaps the window of in-context learning, both with their intervals",
        SUPPORTED,  # the windows are disjoint, their intervals are not
        lambda: changing(*[{"icl": ICL, "prefix_matching": Change(3.15 * MILLION, 3.4 * MILLION)}] * 3),
    ),
    Case(
        6,
        "Not supported if they are disjoint",
        NOT_SUPPORTED,
        lambda: changing({"icl": ICL, "prefix_matching": LATER}),
    ),
    Case(
        6,
        "or if prefix matching has no window while in-context learning has one",
        NOT_SUPPORTED,
        lambda: changing({"icl": ICL}),
    ),
    Case(
        7,
        "Supported if it overlaps the window, both with their intervals",
        SUPPORTED,
        lambda: test_together.with_bumps(1.0, BUMP, n_seeds=3),
    ),
    Case(
        7,
        "Not supported if they are disjoint",
        NOT_SUPPORTED,
        lambda: test_together.with_bumps(1.0, {"icl": ICL, "loss": LATER}),
    ),
    Case(
        7,
        "or if fewer than 1 in 20 resamples have a bump",
        NOT_SUPPORTED,
        lambda: test_together.with_bumps(0.04, {"icl": ICL}),
    ),
    Case(
        7,
        "Inconclusive if more have one and the loss has none by the rules of phases",
        INCONCLUSIVE,
        lambda: test_together.with_bumps(0.06, {"icl": ICL}),
    ),
    *(
        Case(8, clause, verdict, lambda at=at: test_together.beside_one_layer(at, n_seeds=3))
        for clause, verdict, at in (
            ("Supported if it overlaps the window, both with their intervals", SUPPORTED, ICL[:2]),
            ("Not supported if they are disjoint", NOT_SUPPORTED, LATER[:2]),
            ("Inconclusive if the loss does not depart", INCONCLUSIVE, None),
        )
    ),
    Case(8, "others are no subjects", None, lambda: changing({"icl": ICL})),
    Case(
        9,
        "Supported if a certain pivot lies in the window widened by one snapshot on each side",
        SUPPORTED,
        lambda: turning(*[{900: CLEAR}] * 2),
    ),
    Case(
        9,
        "Not supported if the upper end of no angle there reaches min_turn_degrees",
        NOT_SUPPORTED,
        lambda: turning({1600: CLEAR, 1200: SLIGHT}),
    ),
    Case(9, "Else inconclusive", INCONCLUSIVE, lambda: turning(*[{1200: UNCLEAR}] * 2)),
    Case(9, "Seeds without any angle there are left out", SUPPORTED, lambda: turning(*[{1200: CLEAR}] * 2, None)),
    *(
        Case(10, clause, verdict, lambda windows=windows: with_longer_warmup(*windows))
        for clause, verdict, windows in (
            ("Supported if the size of the shift is below `half`", SUPPORTED, [(ICL, ICL)]),
            ("not supported if above", NOT_SUPPORTED, [(ICL, moved(MOVED))]),
            (_ONE_WINDOW, NOT_SUPPORTED, [(ICL, None)]),
            (_ONE_WINDOW, INCONCLUSIVE, [(ICL, ICL), (ICL, None)]),
            (_ONE_WINDOW, NOT_SUPPORTED, [(ICL, moved(MOVED)), (None, ICL)]),
            ("Inconclusive if no model of the pair has a window", INCONCLUSIVE, [(None, None)]),
        )
    ),
    *(
        Case(11, clause, verdict, lambda of_seeds=of_seeds: on_books(*of_seeds))
        for clause, verdict, of_seeds in (
            (
                "Supported if every seed has a window and the estimate is above heads.induction_prefix_matching",
                SUPPORTED,
                [(True, HEAD)],
            ),
            ("Not supported if no seed has a window and the estimate is below it", NOT_SUPPORTED, [(False, NO_HEAD)]),
            ("Else inconclusive", INCONCLUSIVE, [(True, HEAD), (False, HEAD)]),
            ("Else inconclusive", INCONCLUSIVE, [(True, NO_HEAD)]),
            ("Else inconclusive", INCONCLUSIVE, [(False, HEAD)]),
        )
    ),
    Case(
        12,
        "Supported if the change is below -min_slope_change_nats",
        SUPPORTED,
        lambda: two(icl=fall(2 * MILLION, 3 * MILLION, 0.35)),
    ),
    Case(12, "not supported if above", NOT_SUPPORTED, lambda: two(icl=fall(2 * MILLION, 3 * MILLION, 0.02))),
    Case(13, _BOTH_CLASSES, SUPPORTED, lambda: by_class((-0.5, 0.1), (0.2, 0.1))),
    Case(
        13,
        "Not supported if that of continued ones is above 0 and that of broken ones below 0",
        NOT_SUPPORTED,
        lambda: by_class((0.5, 0.1), (-0.2, 0.1)),
    ),
    Case(13, "Else inconclusive", INCONCLUSIVE, lambda: by_class((-0.5, 0.1), (-0.2, 0.1))),
    Case(13, "Else inconclusive", INCONCLUSIVE, lambda: by_class((0.5, 0.1), (0.2, 0.1))),
    Case(
        13,
        "Seeds without tokens of both classes are left out",
        SUPPORTED,
        lambda: with_and_without(
            lambda model: merged(
                grown(model, {"icl": ICL}),
                test_tokens_smeared.repetitions(model, ICL, continued=(-0.5, 0.1), broken=(0.2, 0.1)),
            ),
            lambda model: grown(model, {"icl": ICL}),
        ),
    ),
    *(
        Case(14, clause, verdict, lambda windows=windows, icl=icl: with_smeared(1, *windows, smeared_icl=icl))
        for clause, verdict, windows, icl in (
            (
                "Supported if every seed has a window with smeared keys, none has one with plain keys, and the difference "
                "is above min_effect_nats",
                SUPPORTED,
                [(ICL, None)],
                None,
            ),
            ("Not supported if no seed has a window with smeared keys", NOT_SUPPORTED, [(None, ICL)], None),
            ("Else inconclusive", INCONCLUSIVE, [(ICL, ICL)], None),
            ("Else inconclusive", INCONCLUSIVE, [(ICL, None), (None, None)], None),
            ("Else inconclusive", INCONCLUSIVE, [(ICL, None)], lambda _: -0.10),
        )
    ),
    Case(15, "Supported if above 0", SUPPORTED, lambda: earlier_by(1.0e6, 1.1e6, 1.2e6)),
    Case(15, "not supported if below", NOT_SUPPORTED, lambda: earlier_by(-1.0e6, -1.1e6, -1.2e6)),
    Case(15, "Inconclusive with fewer than min_seeds such seeds", INCONCLUSIVE, lambda: earlier_by(1.0e6, 1.1e6)),
    Case(
        16,
        "Supported if the share is `most` or more and its interval above `half`",
        SUPPORTED,
        ablated({INDUCTION: (0.5, 0.01), PREVIOUS: (0.02, 0.01), OTHER: (-0.4, 0.01)}),
    ),
    Case(
        16,
        _FAR_SIDE,
        NOT_SUPPORTED,
        ablated({INDUCTION: (0.1, 0.01), PREVIOUS: (0.5, 0.01), OTHER: (-0.4, 0.01)}),
    ),
    Case(
        16,
        _NO_SHARE,
        SUPPORTED,  # the second seed would make the mean share 0.5
        lambda: with_and_without(
            heads_and(lambda model: test_ablated.ablations(model, {INDUCTION: (0.5, 0.01), OTHER: (0.0, 0.01)})),
            heads_and(lambda model: test_ablated.ablations(model, {INDUCTION: (0.0, 0.01), OTHER: (0.04, 0.01)})),
        ),
    ),
    Case(16, "Inconclusive if no seed has a share", INCONCLUSIVE, ablated({INDUCTION: (0.04, 0.001)})),
    Case(16, "Inconclusive if no seed has a share", INCONCLUSIVE, ablated({INDUCTION: (0.2, 0.11)})),
    *(
        Case(17, clause, verdict, lambda counts=counts: test_ablated.others(*counts))
        for clause, verdict, counts in (
            ("Supported if the share that raise is above `half`", SUPPORTED, [(12, 0, 0)] * 6),
            ("not supported if the share that lower is above `half`", NOT_SUPPORTED, [(0, 12, 0)] * 6),
            ("Else inconclusive", INCONCLUSIVE, [(0, 0, 12)] * 6),
            ("Else inconclusive", INCONCLUSIVE, [(6, 6, 0)] * 6),
        )
    ),
    Case(
        18,
        "Supported if above 0",
        SUPPORTED,
        lambda: test_ablated.study(undone(0.6, 0.1), [member("attn")]),
    ),
    Case(18, "not supported if below", NOT_SUPPORTED, lambda: test_ablated.study(undone(0.6, 0.9), [member("attn")])),
    Case(
        18,
        "other seeds are left out",
        SUPPORTED,
        lambda: with_and_without(heads_and(undone(0.6, 0.1)), heads_and(undone(0.1, 0.9), HEADS[:2])),
    ),
    Case(19, "Supported if above min_effect_nats", SUPPORTED, lambda: mlp(0.2)),
    Case(19, "not supported if below", NOT_SUPPORTED, lambda: mlp(0.0)),
    Case(
        19,
        "other seeds are left out",
        None,
        lambda: test_ablated.study(
            lambda model: test_ablated.ablations(model, {OTHER: (0.9, 0.01)}), [member("mlp", d_mlp=512)], HEADS[:2]
        ),
    ),
    Case(20, "Supported if above min_task_excess", SUPPORTED, lambda: task(0.45)),
    Case(20, "not supported if below", NOT_SUPPORTED, lambda: task(0.26)),
    Case(
        20,
        "Inconclusive without table pattern_tasks",
        None,
        lambda: evidence([model := member("attn")], grown(model, heads=LAYERS)),
    ),
    Case(21, "Supported if both are above min_correlation", SUPPORTED, lambda: among_models(related(100, 0.9, 0.8), 5)),
    Case(21, "not supported if either is below", NOT_SUPPORTED, lambda: among_models(related(400, 0.9, 0.0), 5)),
    Case(21, "not supported if either is below", NOT_SUPPORTED, lambda: among_models(related(400, 0.0, 0.9), 5)),
    Case(21, _FEW, INCONCLUSIVE, lambda: among_models(related(100, 0.9, 0.8), 2)),
    Case(
        21,
        _FEW,
        INCONCLUSIVE,
        lambda: among_models([row | {"qk_trace": 1.0} for row in related(100, 0.9, 0.8)], 5),
    ),
    Case(22, "Supported if above `half`", SUPPORTED, lambda: copying(10)),
    Case(22, "not supported if below", NOT_SUPPORTED, lambda: copying(0)),
    Case(23, "Supported if above `half`", SUPPORTED, lambda: in_layers({"n_layers": 3}, 9, 0, 2, 1)),
    Case(23, "not supported if below", NOT_SUPPORTED, lambda: in_layers({"n_layers": 3}, 0, 9, 2, 1)),
    Case(23, "Supported if above `half`", SUPPORTED, lambda: in_layers({"n_layers": 6, "d_mlp": 512}, 9, 0, 4, 5)),
    Case(23, "Supported if above `half`", SUPPORTED, lambda: in_layers({"n_layers": 24, "d_mlp": 512}, 9, 0, 11, 12)),
    *(
        Case(23, "Other shapes are no subjects", None, lambda shape=shape: in_layers(shape, 9, 0, 1, 0))
        for shape in ({"n_layers": 2}, {"n_layers": 3, "smeared_keys": True}, {"n_layers": 3, "d_mlp": 512})
    ),
    Case(24, "Supported if its size is below min_effect_nats", SUPPORTED, lambda: scores_of_sizes(0.01)),
    Case(24, "not supported if above", NOT_SUPPORTED, lambda: scores_of_sizes(-0.2)),
    Case(24, "not supported if above", NOT_SUPPORTED, lambda: scores_of_sizes(0.2)),
    Case(25, "Supported if above `half`", SUPPORTED, lambda: test_scale.gap_of(0.9, 1.0)),
    Case(25, "not supported if below", NOT_SUPPORTED, lambda: test_scale.gap_of(0.1, 1.0)),
    Case(25, "Inconclusive if the late gap is not above 0", INCONCLUSIVE, lambda: test_scale.gap_of(0.9, 0.001, 0.05)),
    Case(26, _FLIPS, SUPPORTED, lambda: test_scale.falling(0.1, -0.1)),
    Case(26, _FLIPS, SUPPORTED, lambda: test_scale.falling(-0.1, 0.1)),
    Case(26, "not supported if both are on the same side of 0", NOT_SUPPORTED, lambda: test_scale.falling(0.1, 0.1)),
    Case(
        26,
        "Inconclusive if some model has fewer than two snapshots before or after",
        INCONCLUSIVE,
        lambda: test_scale.falling(0.1, -0.1, steps=STEPS[STEPS * 2048 < 4.2 * MILLION]),
    ),
    Case(
        27,
        "Supported if there is one by 2 standard errors of both scores",
        SUPPORTED,
        lambda: deep_head(0.8, -0.5, 0.1),
    ),
    Case(
        27,
        "Not supported if there is none even within 2 standard errors of both",
        NOT_SUPPORTED,
        lambda: deep_head(0.8, 0.4, 0.1),
    ),
    Case(
        27,
        "Not supported if there is none even within 2 standard errors of both",
        NOT_SUPPORTED,
        lambda: deep_head(0.02, -0.5, 0.1),
    ),
    Case(27, "Else inconclusive", INCONCLUSIVE, lambda: deep_head(0.8, -0.2, 0.1)),
    Case(
        28,
        "Supported if the size of the difference is below max_recovery_gap for all three",
        SUPPORTED,
        lambda: recovered(p=0.95, a=0.70, b=0.85),
    ),
    Case(28, "Not supported if it is above for one of them", NOT_SUPPORTED, lambda: recovered(p=0.95, a=0.3, b=0.75)),
    Case(28, "Else inconclusive", INCONCLUSIVE, lambda: recovered(p=0.95, a=0.65, b=0.91)),
    Case(
        28,
        "a pattern without a recovered fraction is inconclusive",
        INCONCLUSIVE,
        lambda: recovered(p=None, a=0.65, b=0.76),
    ),
    Case(
        29, "Supported if all three do at all sizes", SUPPORTED, lambda: test_scale.signed(test_scale.WINDOW, CLEAR, 2)
    ),
    Case(
        29,
        "Not supported if one of the three is not supported at some size",
        NOT_SUPPORTED,
        lambda: test_scale.signed((6 * MILLION, 7 * MILLION), CLEAR, 2),
    ),
    Case(29, "Else inconclusive", INCONCLUSIVE, lambda: test_scale.signed(test_scale.WINDOW, UNCLEAR, 2)),
]


def architectures(*of_architectures):
    """Architectures of one seed each, which change as told."""
    models = [member(f"m{at}", d_model=64 * (at + 1)) for at in range(len(of_architectures))]
    pairs = zip(models, of_architectures, strict=True)
    return evidence(models, merged(*(grown(model, changes, icl=icl) for model, (changes, icl) in pairs)))


HOLDING, DRIFTING = ({"icl": ICL}, inside(ICL)), ({"icl": ICL}, inside(ICL, later=0.5))
WITHOUT = ({}, inside(ICL))
TOGETHER, APART = (PREFIX, None), ({"icl": ICL, "prefix_matching": LATER}, None)
_MORE_THAN_HALF = "supported if it is supported for more than half of them and not supported for none"
_BEFORE_CHANCE = (
    "For claims of co-occurrence the subjects count as they agree, before chance, and the chance is that of all models "
    "of all subjects together"
)

COMMON_CASES = [
    Case(
        12,
        "An estimate whose interval includes the bound is inconclusive",
        INCONCLUSIVE,
        lambda: two(icl=fall(2 * MILLION, 3 * MILLION, 0.05 / 0.9 / test_formation.TILT), own_noise=0.02),
    ),
    Case(
        3,
        "If no seed of a subject has one, claims about the window are inconclusive for it",
        INCONCLUSIVE,
        lambda: two({}, icl=inside(ICL)),
    ),
    Case(
        3,
        "Seeds without a window are left out, and the reason counts them",
        SUPPORTED,
        lambda: with_and_without(lambda model: grown(model, {"icl": ICL}), grown),
    ),
    Case(
        6,
        "Where seeds are judged one by one, the verdict is the one on which all agree, else inconclusive",
        INCONCLUSIVE,
        lambda: changing(*[PREFIX] * 4, {"icl": ICL, "prefix_matching": LATER}),
    ),
    Case(
        6,
        "agreement of change points supports a claim only if its chance is below max_chance, else it is inconclusive",
        INCONCLUSIVE,
        lambda: changing(PREFIX),
    ),
    Case(
        6,
        "agreement of change points supports a claim only if its chance is below max_chance, else it is inconclusive",
        SUPPORTED,
        lambda: changing(*[PREFIX] * 3),
    ),
    Case(6, "Disagreement needs no chance", NOT_SUPPORTED, lambda: architectures(APART)),
    Case(
        2,
        "A claim that the study lacks the models or a table to judge is inconclusive, and the reason says what is missing",
        INCONCLUSIVE,
        lambda: evidence([model := member("attn-1l", n_layers=1)], grown(model)),
    ),
    Case(
        2,
        "As a whole a claim is not supported if it is not supported for one of its subjects",
        NOT_SUPPORTED,
        lambda: architectures(HOLDING, HOLDING, DRIFTING),
    ),
    Case(2, _MORE_THAN_HALF, SUPPORTED, lambda: architectures(HOLDING, HOLDING, WITHOUT)),
    Case(2, "else inconclusive", INCONCLUSIVE, lambda: architectures(HOLDING, WITHOUT)),
    Case(6, _BEFORE_CHANCE, SUPPORTED, lambda: architectures(TOGETHER, TOGETHER, TOGETHER)),
    Case(6, _BEFORE_CHANCE, INCONCLUSIVE, lambda: architectures(TOGETHER, TOGETHER)),
    Case(6, _BEFORE_CHANCE, NOT_SUPPORTED, lambda: architectures(*[TOGETHER] * 3, APART)),
]


def named(case):
    return f"{case.claim}-{case.verdict}-{case.clause[:40]}"


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_verdict_follows_from_the_words_of_the_rule(case):
    assert case.clause in CLAIMS[case.claim].rule
    found = subjects(case)
    if case.verdict is None:
        assert not found
    else:
        assert found[0].verdict == case.verdict, found[0].reason


@pytest.mark.parametrize("case", COMMON_CASES, ids=named)
def test_a_verdict_as_a_whole_follows_from_the_words_of_the_common_rule(case):
    assert case.clause in COMMON_RULE
    study = case.study()
    settings = study.settings
    found = subjects(case)
    if not found:  # the study cannot test it
        assert case.verdict == INCONCLUSIVE
        return
    (whole,) = weighed([summed_up(found, settings.phases.min_support)], settings.claims.max_chance, "claims")
    assert whole.verdict == case.verdict, whole.reason


def subjects(case) -> list[Judgement]:
    """The judgements of a case's study; none if it cannot test the claim."""
    try:
        return list(JUDGES[case.claim](case.study()))
    except NotTestableError:
        return []


DECIDES = re.compile(r"upported|nconclusive|left out|no subjects|supports|Disagreement")


def clauses_of(rule):
    """The parts of a rule that decide; of the common rule without its amendments."""
    return [part for part in re.split(r"\. |; ", rule.partition(" Amended on")[0]) if DECIDES.search(part)]


@pytest.mark.parametrize("number", CLAIMS)
def test_every_clause_that_decides_has_a_case(number):
    lacking = [
        clause
        for clause in clauses_of(CLAIMS[number].rule)
        if not any(case.clause in clause or clause.rstrip(".") in case.clause for case in CASES if case.claim == number)
    ]
    assert not lacking


def test_every_clause_of_the_common_rule_has_a_case():
    lacking = [
        clause
        for clause in clauses_of(COMMON_RULE)
        if not any(case.clause in clause or clause.rstrip(".") in case.clause for case in COMMON_CASES)
    ]
    assert not lacking


@pytest.mark.parametrize("number", CLAIMS)
def test_every_claim_has_a_case_that_supports_it_and_one_that_does_not(number):
    assert {SUPPORTED, NOT_SUPPORTED} <= {case.verdict for case in CASES if case.claim == number}


def test_every_bound_stands_in_the_rules_that_its_description_names():
    rules = {number: claim.rule for number, claim in CLAIMS.items()}
    for name, field in Claims.model_fields.items():
        named = {int(number) for number in re.findall(r"\d+", (field.description or "").partition(":")[0])}
        words = {"most": "`most`", "half": "`half`", "max_chance": "The chance "}.get(name, name)
        if name == "min_seeds":
            assert name in COMMON_RULE
        else:
            assert named == {number for number, rule in rules.items() if words in rule}, name
    assert "max_chance" in COMMON_RULE


def test_amendments_have_dates_on_which_the_decision_page_says_more():
    page = (ROOT / "workflow/decisions/2026-11-25-claims.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\d{4}-\d\d-\d\d)", page, re.M) == ["2026-11-30"]
    for claim in CLAIMS.values():
        dates = re.findall(r"2026-11-\d\d", claim.amended)
        assert bool(dates) == bool(claim.amended)
        assert claim.amended.startswith(tuple(dates[:1]))
        assert set(dates) <= {"2026-11-25", "2026-11-30"}
