"""The paper's claims: what each says, the paper's figure, the rule by which a study judges it, and its amendments.

A rule states every condition that decides; what all rules have in common stands in `COMMON_RULE`. Names such as
`max_drift` are fields of `claims` in config/config.yaml, others are written with their place (`phases.min_support`).
tests/analyse/claims/test_rules.py compares each rule with its judge.
"""

from typing import NamedTuple


class Claim(NamedTuple):
    """A claim of Olsson et al. 2022."""

    number: int
    statement: str
    paper: str
    rule: str
    amended: str
    """Every change after claims were first judged on data, with its date; empty if there is none."""


COMMON_RULE = (
    "Subjects: an architecture, that is, the measured models of one family that differ only in their seed; or a pair "
    "of architectures, compared seed by seed; or the heads of several models. Intervals cover bootstrap.confidence. "
    "With min_seeds seeds or more an estimate is the mean over seeds with Student's interval over seeds. With fewer "
    "seeds it is the mean over seeds with a bootstrap interval over evaluation examples, or with the mean of the "
    "seeds' own intervals where each seed has one. A share of heads is the mean over models, whose heads are not "
    "independent, with Wilson's interval for as many trials as there are models. Above, below and within a bound "
    "mean that the whole interval is. An estimate whose interval includes the bound is inconclusive. Window means "
    "the window of in-context learning in table phases. If no seed of a subject has one, claims about the window are "
    "inconclusive for it. Seeds without a window are left out, and the reason counts them. Where seeds are judged "
    "one by one, the verdict is the one on which all agree, else inconclusive. Co-occurrence (claims 1, 6, 7, 8, 9 "
    "and 29): agreement of change points supports a claim only if its chance is below max_chance, else it is "
    "inconclusive. Disagreement needs no chance. The chance of a model is the probability that its change point "
    "agrees with the window if it lies at a random time, uniform over training tokens. The chance of a subject is "
    "the probability that at least as many of its models agree, with models independent of each other (a Poisson "
    "binomial distribution). It is adjusted by Holm's method for the number of the claim's subjects. A claim that "
    "the study lacks the models or a table to judge is inconclusive, and the reason says what is missing. As a whole "
    "a claim is not supported if it is not supported for one of its subjects; supported if it is supported for more "
    "than half of them and not supported for none; else inconclusive. For claims of co-occurrence the subjects count "
    "as they agree, before chance, and the chance is that of all models of all subjects together, adjusted by Holm's "
    "method for the number of claims of co-occurrence that have a chance in the study. Amended on 2026-11-25, after "
    "a trial on the demo: a claim as a whole had been supported if it was supported for one subject and not "
    "supported for none; the agreement of seeds was written down. Amended on 2026-11-30, after all claims had been "
    "judged on the demo: co-occurrence counts as support only where chance is below max_chance; shares of heads are "
    "over models, no longer over seeds or heads."
)

_WINDOWED = "the windowed ICL score (mean loss over in_context.late_window less that over in_context.early_window)"
_STATED = "2026-11-30: conditions that the judge applied before are stated"
_OVERLAP = (
    "The chance of a model is that of a stretch as long as the change point with its interval, placed at random, to "
    "overlap the window with its interval. "
)
_SIZES = (
    "Sizes: architectures of one family, of two and more layers, with plain keys, that differ in their parameters "
    "and are alike in all fields but their shape, learning_rate, batch_growth, n_steps, snapshots, block_snapshots "
    "and ablated_examples; compared are the models of each seed that all sizes have, or, if there is no such seed, "
    "all models together. "
)
_ALIKE = "alike in all other fields but n_steps, snapshots and block_snapshots, the seed included"

_CLAIMS = (
    Claim(
        1,
        "In models of two and more layers in-context learning arrives abruptly.",
        "|ICL| goes from under 0.15 to about 0.4 nats",
        "Each architecture of two and more layers: a step of two levels and a straight line are fitted to "
        f"{_WINDOWED} over training tokens by least squares; a snapshot weighs as much as the training that it "
        "represents, half of the distance to each neighbour. The estimate is RSS(linear ramp) / RSS(step). Not "
        "supported if it is below 1. Supported if it is above 1, the size of the level before the step is below "
        "early_icl_nats, in-context learning after the step (minus the score) is above early_icl_nats, and the place "
        "of the step, with its interval, overlaps the window, with its interval, in every seed that has a window, "
        "and at least one has; the place is found from the score alone and by no rule of phases. "
        f"{_OVERLAP}Inconclusive with fewer than 4 snapshots.",
        "2026-11-25, after a first trial: the level after the step must be above early_icl_nats; at least 4 "
        f"snapshots. {_STATED} (weights of snapshots, 4 snapshots); the place of the step, which stood beside the "
        "verdict, must overlap the window by more than chance.",
    ),
    Claim(
        2,
        "After the window, in-context learning stays about constant.",
        "about 0.4 nats from the window on",
        f"Each architecture of two and more layers, {_WINDOWED}, interpolated between snapshots at the ends of the "
        "window (in each resample at that resample's own window, or the sample's if it has none). Drift: the score "
        "at the last snapshot less that at the window's end, over the change inside the window. Supported if the "
        "size of the drift is below max_drift; not supported if above. Inconclusive if in some seed less training "
        "follows the window than the window took.",
        "2026-11-25, after a review of a first trial: inconclusive if too little training follows the window. "
        f"{_STATED} (too little training after the window).",
    ),
    Claim(
        3,
        "Most of the final in-context learning forms inside the window.",
        "over 75%",
        f"Each architecture of two and more layers, {_WINDOWED}, interpolated as in 2. Share: the change inside the "
        "window over the score at the last snapshot. Supported if the share is `most` or more and its interval above "
        "`half`; not supported if the share is under `half` and its interval below `most`. Inconclusive if in some "
        "seed less training follows the window than the window took.",
        "2026-11-25, after a review of a first trial: inconclusive if too little training follows the window. "
        f"{_STATED} (too little training after the window).",
    ),
    Claim(
        4,
        "Models of one layer have no jump and no induction heads.",
        "no change in the 1-layer model",
        f"Each pair of one and two layers with plain keys, {_ALIKE}; {_WINDOWED} at the last training tokens that "
        "both have seen. Difference: how much less in-context learning the single layer has, in nats. Induction "
        "heads are of class induction (heads) at the last snapshot. Supported if the difference is above 0 and no "
        "single layer has a window or an induction head. Not supported if every single layer has both a window and "
        "an induction head, or if the difference is below 0. Else inconclusive.",
        "2026-11-25, after a review of a first trial: scores are compared at the last tokens that both have seen. "
        f"{_STATED} (the last common tokens, plain keys, all seeds count).",
    ),
    Claim(
        5,
        "The window comes at the paper's number of training tokens.",
        "1-3 billion tokens (small models), 2.5-5 billion (all)",
        "Each architecture of two and more layers with plain keys at the paper's own setting (context 8,192, 65,536 "
        "tokens in the vocabulary, 2^20 tokens a step). Supported if the interval of the window's midpoint lies "
        "within window_tokens; not supported if it lies outside.",
        f"{_STATED} (plain keys).",
    ),
    Claim(
        6,
        "Prefix matching rises in the same window as in-context learning.",
        "the same window in all models",
        "Each architecture of two and more layers, each seed. Independent change point: the window of prefix "
        "matching in table phases, of the head that is best at the last snapshot. Supported if it overlaps the "
        "window of in-context learning, both with their intervals. Not supported if they are disjoint, or if prefix "
        f"matching has no window while in-context learning has one. {_OVERLAP}The estimate is the distance of the "
        "midpoints.",
        f"{_STATED} (which head). The overlap must exceed chance.",
    ),
    Claim(
        7,
        "The loss curve is non-convex only in the window.",
        "a bump in the loss, nowhere else",
        "Each architecture of two and more layers, each seed. Independent change point: the stretch over which the "
        "loss lies highest above its lower convex hull (signal loss of table phases). Supported if it overlaps the "
        "window, both with their intervals. Not supported if they are disjoint, or if fewer than 1 in 20 resamples "
        f"have a bump. Inconclusive if more have one and the loss has none by the rules of phases. {_OVERLAP}The "
        "estimate is the distance of the midpoints.",
        f"{_STATED} (a bump in some resamples only). The overlap must exceed chance.",
    ),
    Claim(
        8,
        "In the window the loss departs from that of one layer.",
        "the curves part in the window",
        f"Each architecture of two and more layers with plain keys that has a counterpart of one layer, {_ALIKE}, "
        "each seed; others are no subjects. Independent change point: where the loss less the 1-layer model's, over "
        "the training that both have, falls fastest, by the rules of phases with a least fall of "
        "phases.min_bump_nats. Supported if it overlaps the window, both with their intervals. Not supported if they "
        f"are disjoint. Inconclusive if the loss does not depart. {_OVERLAP}The estimate is the distance of the "
        "midpoints.",
        f"2026-11-25, after a review of a first trial: architectures without a counterpart are no subjects. {_STATED} "
        "(plain keys, no departure). The overlap must exceed chance.",
    ),
    Claim(
        9,
        "The trajectory in the space of losses pivots in the window.",
        "a pivot in every model of two and more layers",
        "Each architecture of two and more layers, each seed, turning angles of table pca. A pivot: a snapshot at "
        "which the trajectory turns by min_turn_degrees or more and by more than at both neighbours; it is certain "
        "if the lower end of the angle's interval is above min_turn_degrees. Supported if a certain pivot lies in "
        "the window widened by one snapshot on each side. Not supported if the upper end of no angle there reaches "
        "min_turn_degrees. Else inconclusive. Seeds without any angle there are left out. The chance of a model is "
        "the share of the stretches of training as long as the widened window that contain a certain pivot.",
        f"{_STATED} (seeds without an angle). The pivots must exceed chance.",
    ),
    Claim(
        10,
        "The change is not an effect of the schedule.",
        "no step of the schedule falls on the window",
        f"Each pair of architectures of two and more layers that differ in warmup_steps, {_ALIKE}. Shift: how many "
        "tokens the window's midpoint moves for each token by which the end of the warm-up moves. Supported if the "
        "size of the shift is below `half`; not supported if above. A seed in which only one of the two has a window "
        "counts as not supported, and must agree with the verdict on the others, else the pair is inconclusive. "
        "Inconclusive if no model of the pair has a window.",
        f"{_STATED} (of the schedule only the warm-up is varied; seeds with one window).",
    ),
    Claim(
        11,
        "The same change comes on another corpus.",
        "it comes in models trained on books alone",
        "Each architecture of two and more layers on another corpus than the study's first model, alike to one on "
        "that first corpus in all other fields but the seed, n_steps, snapshots and block_snapshots; if there is "
        "none, each on another corpus. The estimate is the prefix matching of the best head at the last snapshot, "
        "with its interval over the probe's sequences. Supported if every seed has a window and the estimate is "
        "above heads.induction_prefix_matching. Not supported if no seed has a window and the estimate is below it. "
        "Else inconclusive.",
        f"2026-11-25, after a review of a first trial: only models alike to one on the first corpus. {_STATED} (which "
        "models are alike, models without a counterpart, every seed).",
    ),
    Claim(
        12,
        "Before the window the loss is flat past about token 50, after it the loss keeps falling along the context.",
        "the slope past token 50 appears at the change",
        "Each architecture of two and more layers: least-squares slope of the mean loss over ln(index) from "
        "in_context.early on, interpolated at the ends of the window as in 2. The estimate is its change over the "
        "window. Supported if the change is below -min_slope_change_nats; not supported if above.",
        f"{_STATED} (interpolation).",
    ),
    Claim(
        13,
        "The change sits on repeated sequences: continued ones get better, broken ones worse.",
        "both, in a paragraph of text",
        "Each architecture of two and more layers: change of the mean loss of continued and of broken repetitions "
        "(table repetitions) from the last snapshot before the window to the first after it. Supported if the change "
        "of continued ones is below 0 and that of broken ones above 0. Not supported if that of continued ones is "
        "above 0 and that of broken ones below 0. Else inconclusive. Seeds without tokens of both classes are left "
        "out.",
        f"{_STATED} (which snapshots; seeds left out; that both classes must move the wrong way to count against it).",
    ),
    Claim(
        14,
        "Smeared keys give a single layer the change.",
        "a change in 1 layer with smeared keys, none with plain keys",
        f"Each pair of one layer with smeared and with plain keys, {_ALIKE}; {_WINDOWED} at the last training tokens "
        "that both have seen. Difference: how much more in-context learning there is with smeared keys, in nats. "
        "Supported if every seed has a window with smeared keys, none has one with plain keys, and the difference is "
        "above min_effect_nats. Not supported if no seed has a window with smeared keys. Else inconclusive.",
        "2026-11-25, after a review of a first trial: scores are compared at the last tokens that both have seen. "
        f"{_STATED} (the last common tokens, every seed).",
    ),
    Claim(
        15,
        "Smeared keys make two layers change earlier.",
        "earlier in 2 layers with smeared keys",
        f"Each pair of two layers with smeared and with plain keys, {_ALIKE}: how many tokens earlier the window's "
        "midpoint lies with smeared keys, in the seeds in which both have a window. Supported if above 0; not "
        "supported if below. Inconclusive with fewer than min_seeds such seeds.",
        f"{_STATED} (seeds in which one has no window).",
    ),
    Claim(
        16,
        "In attention-only models nearly all in-context learning that ablations cost is lost with induction heads.",
        "nearly all of it",
        "Each attention-only architecture of two and more layers, and of one layer if it has an induction head. Last "
        "snapshot, patterns preserved, results set to zero, LayerNorm recomputed. Of the sum of the losses of "
        "in-context learning by ablation, head by head, gains counted as 0, the share of heads of class induction. A "
        "seed none of whose heads costs more than min_effect_nats and more than 2 standard errors has no share and "
        "is left out. Supported if the share is `most` or more and its interval above `half`; not supported if it is "
        "under `half` and its interval below `most`. Inconclusive if no seed has a share. Intervals count the errors "
        "of heads as independent.",
        "2026-11-25, after a first trial: a seed without a head that costs anything has no share (before: none of "
        f"the kind was left out, which made the claim not supported on books). {_STATED} (2 standard errors, single "
        "layers, gains, LayerNorm, errors).",
    ),
    Claim(
        17,
        "Ablating most other heads raises in-context learning.",
        "most others raise it",
        "Heads that are not of class induction, in each attention-only model that has one that is; last snapshot, "
        "ablated as in 16. A head raises in-context learning if its ablation does by more than 2 standard errors, "
        "and lowers it likewise; all other heads do neither. The estimate is the share of a model's other heads that "
        "raise it. Supported if the share that raise is above `half`; not supported if the share that lower is above "
        "`half`. Else inconclusive. The reason gives the counts of each model, and a one-sided sign test over models "
        "of more heads that raise than lower.",
        "2026-11-30, after all claims had been judged on the demo: heads are counted by 2 standard errors, in each "
        "model, and models are the unit. Before, every head with a negative change counted, and heads were the unit.",
    ),
    Claim(
        18,
        "Induction heads are the negative extreme of the before-and-after score.",
        "the most negative heads",
        "Each architecture that has a seed with a window, a head of class induction and another head; other seeds "
        "are left out. Last snapshot, patterns preserved: the least before-and-after score of the other heads less "
        "that of the induction heads, as a share of the window's change. Supported if above 0; not supported if "
        "below. Which two heads are compared is taken from the sample and kept in its resamples, which count the "
        "errors of heads as independent.",
        f"{_STATED} (subjects, and what is resampled).",
    ),
    Claim(
        19,
        "With MLPs the same, weaker.",
        "the same, less pronounced",
        "Each architecture with MLPs that has a seed with a head of class induction; other seeds are left out. Last "
        "snapshot, ablated as in 16: in-context learning lost without the induction head whose prefix matching is "
        "highest. Supported if above min_effect_nats; not supported if below. The attention-only models beside it "
        "are in the reason and do not decide.",
        f"{_STATED} (which head is the best one).",
    ),
    Claim(
        20,
        "Induction heads also do the abstract task.",
        "they attend to labels of the same kind",
        "Each architecture that has a seed with a head of class induction and others in its layer, last snapshot. "
        "Attention on labels of the same kind, as a share of that on labels: mean over induction heads of their "
        "share less the mean share of the other heads of the layer that look at labels as much or more (or, where "
        "there are none, of all others of the layer). Supported if above min_task_excess; not supported if below. "
        "Inconclusive without table pattern_tasks, which is made for the figure case_studies. Intervals count the "
        "errors of heads as independent.",
        f"{_STATED} (subjects, errors, the table).",
    ),
    Claim(
        21,
        "Copying follows the eigenvalues of the OV circuit, prefix matching the trace of the QK circuit.",
        "clear correlations",
        "Spearman correlation of both pairs of scores over the heads of all models that have them, last snapshots. "
        "Intervals: Student's over seeds, with min_seeds seeds or more; else of a bootstrap over models, no narrower "
        "than Fisher's over heads. Supported if both are above min_correlation; not supported if either is below. A "
        "correlation over fewer than min_seeds models is inconclusive, and so is one over fewer than 4 heads or over "
        "heads that are all alike.",
        f"2026-11-25, after a review of a first trial: over seeds where there are min_seeds. {_STATED} (4 heads). "
        "Intervals are over models, no longer over heads.",
    ),
    Claim(
        22,
        "Heads that match prefixes copy, more often than not.",
        "more often than not",
        "Heads of all models, last snapshots, whose prefix matching is above 0.1 by more than 2 standard errors. The "
        "estimate is the share of them whose copying is above 0. Supported if above `half`; not supported if below.",
        "2026-11-30: the share is over models, no longer over seeds or heads.",
    ),
    Claim(
        23,
        "Induction heads sit in certain layers.",
        "the last layer (attention-only), the last but one (5 and 6 layers with MLPs), the first half (24 and 40 "
        "layers)",
        "Heads of class induction in models with plain keys, of three shapes: attention-only of three and more "
        "layers (the last layer), 5 and 6 layers with MLPs (the last but one), 24 and 40 layers with MLPs (the first "
        "half). The estimate is the share of them in those layers. Supported if above `half`; not supported if "
        "below. Other shapes are no subjects: of two layers without MLPs only the last one can have induction heads, "
        "and of others the paper says nothing.",
        f"2026-11-25, after a review of a first trial: attention-only models of two layers are no subject. {_STATED} "
        "(shapes, plain keys). The share is over models, no longer over seeds or heads.",
    ),
    Claim(
        24,
        "Final in-context learning is about equal from two layers to 13 billion parameters, for any pair of indices.",
        "about 0.4 nats in all",
        f"Three or more sizes. {_SIZES}The estimate is the difference of {_WINDOWED} at the last snapshots between "
        "the largest and the smallest size, along a least-squares line over ln(parameters). Supported if its size is "
        "below min_effect_nats; not supported if above. Other pairs of indices are in the reason and do not decide.",
        f"2026-11-25, after a review of a first trial: sizes are alike in all else. {_STATED} (sizes; that other "
        "indices do not decide).",
    ),
    Claim(
        25,
        "Most of the loss gap between sizes forms in the first ten tokens.",
        "most of it",
        f"The largest and the smallest of two or more sizes. {_SIZES}The estimate is the gap of the mean loss of "
        "tokens 8 to 12 over that of the mean loss over in_context.late_window, at the last snapshots. Supported if "
        "above `half`; not supported if below. Inconclusive if the late gap is not above 0.",
        f"2026-11-25, after a review of a first trial: sizes are alike in all else. {_STATED} (sizes, tokens 8 to 12, "
        "no late gap).",
    ),
    Claim(
        26,
        "The order of the sizes by how fast their loss falls flips at the change.",
        "it flips at the change",
        f"Three or more sizes, one of which has a window. {_SIZES}Spearman correlation of size and the least-squares "
        "slope of the loss over ln(tokens), over all snapshots before the first of their windows and over all after "
        "the last, without the snapshot before training. Supported if one of the two correlations is above 0 and the "
        "other below; not supported if both are on the same side of 0. Inconclusive if some model has fewer than two "
        "snapshots before or after.",
        f"2026-11-25, after a review of a first trial: sizes are alike in all else. {_STATED} (sizes, two snapshots, "
        "the first snapshot).",
    ),
    Claim(
        27,
        "Over 16 layers, some heads match prefixes and anti-copy.",
        "some such heads",
        "Heads of all models of more than 16 layers, last snapshots: prefix matching of "
        "heads.induction_prefix_matching or more and copying below -min_anticopying. Supported if there is one by 2 "
        "standard errors of both scores. Not supported if there is none even within 2 standard errors of both. Else "
        "inconclusive.",
        f"{_STATED} (heads within 2 standard errors).",
    ),
    Claim(
        28,
        "Ideal attention patterns recover what the heads are worth.",
        "99% (previous token), about 65% ([A][B]…[A]), 10% more ([A][B][C]…[A][B])",
        "Each attention-only architecture of two layers, last snapshot: the fraction recovered of table idealised "
        "less the paper's, for each of three ideal patterns: previous token (0.99), [A][B]…[A] (0.65), [A][B]…[A] "
        "and [A][B][C]…[A][B] (0.75). Supported if the size of the difference is below max_recovery_gap for all "
        "three. Not supported if it is above for one of them. Else inconclusive; a pattern without a recovered "
        "fraction is inconclusive.",
        f"{_STATED} (the paper's fractions as numbers; patterns without a fraction).",
    ),
    Claim(
        29,
        "The same signature at every scale.",
        "all sizes up to 13 billion parameters",
        f"Three or more sizes. {_SIZES}The estimate is the share of sizes at which claims 1, 6 and 9 agree with the "
        "window, before chance. Supported if all three do at all sizes. Not supported if one of the three is not "
        "supported at some size. Else inconclusive. The chance is the greatest of those of claims 1, 6 and 9 over "
        "all models of these sizes, since all three are needed.",
        f"2026-11-25, after a review of a first trial: sizes are alike in all else. {_STATED} (sizes). The agreement "
        "over all sizes must exceed chance.",
    ),
)

CLAIMS = {claim.number: claim for claim in _CLAIMS}
"""By number."""
