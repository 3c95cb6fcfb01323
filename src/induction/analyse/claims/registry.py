"""The paper's claims: what each says, the paper's figure, and the rule by which a study judges it.

The rules name fields of `claims` in config/config.yaml for their bounds. Common to all: an interval that lies wholly on
one side of the rule's bound holds or fails the claim; one that reaches over it cannot tell. Where there are seeds
(`min_seeds` or more), the interval is over seeds; where each seed is judged by itself, they must agree. A claim fails
as a whole if it fails for one subject, and holds if it holds for more than half of them and fails for none.
"""

from typing import NamedTuple


class Claim(NamedTuple):
    """A claim of Olsson et al. 2022."""

    number: int
    statement: str
    paper: str
    rule: str


_CLAIMS = (
    Claim(
        1,
        "In models of two and more layers in-context learning arrives abruptly.",
        "|ICL| goes from under 0.15 to about 0.4 nats",
        "A step and a straight ramp from the first to the last snapshot are fitted to the windowed ICL score by least "
        "squares. Holds if the step leaves less unexplained than the ramp and takes the score from a size below "
        "early_icl_nats to in-context learning of more; fails if the ramp leaves less. The step's place, found from "
        "the score alone and by no rule of phases, stands beside it.",
    ),
    Claim(
        2,
        "After the window, in-context learning stays about constant.",
        "about 0.4 nats from the window on",
        "Drift: the score at the last snapshot less that at the window's end, over the jump inside the window. Holds "
        "if its size is below max_drift, fails if above.",
    ),
    Claim(
        3,
        "Most of the final in-context learning forms inside the window.",
        "over 75%",
        "Share: the jump inside the window over the score at the last snapshot. Holds if it is `most` or more and its "
        "interval above `half`; fails if it is under `half` and its interval below `most`.",
    ),
    Claim(
        4,
        "Models of one layer have no jump and no induction heads.",
        "no change in the 1-layer model",
        "Against two layers, all else equal: how much smaller the final score is than theirs, in nats. Holds if the "
        "difference is above 0, the single layer has no window and no head of class induction; fails if it has both a "
        "window and such a head, or if the difference is below 0.",
    ),
    Claim(
        5,
        "The window comes at the paper's number of training tokens.",
        "1-3 billion tokens (small models), 2.5-5 billion (all)",
        "Judged at the paper's own setting alone (context 8,192, 65,536 tokens in the vocabulary, 2^20 tokens a step): "
        "holds if the interval of the window's midpoint lies within window_tokens, fails if outside.",
    ),
    Claim(
        6,
        "Prefix matching rises in the same window as in-context learning.",
        "the same window in all models",
        "Change point of its own: the window of the best head's prefix matching, by the rules of phases. Distance of "
        "the two midpoints, in tokens. Holds if the two windows with their intervals overlap, fails if they are "
        "disjoint, or if prefix matching has none while in-context learning has.",
    ),
    Claim(
        7,
        "The loss curve is non-convex only in the window.",
        "a bump in the loss, nowhere else",
        "Change point of its own: the stretch over which the loss lies highest above its lower convex hull. Holds if "
        "it overlaps the window, fails if it lies elsewhere, or if fewer than one resample in 20 has any.",
    ),
    Claim(
        8,
        "In the window the loss departs from that of one layer.",
        "the curves part in the window",
        "Change point of its own: where the loss less the 1-layer model's, on the same tokens, falls fastest, by the "
        "rules of phases with min_bump_nats. Holds if it overlaps the window, fails if they are disjoint.",
    ),
    Claim(
        9,
        "The trajectory in the space of losses pivots in the window.",
        "a pivot in every model of two and more layers",
        "Change point of its own: snapshots at which the trajectory on two shared components turns by "
        "min_turn_degrees and more than at both neighbours. Holds if the lower end of such a turn's interval is above "
        "that, inside the window widened by one snapshot; fails if no turn's upper end there reaches it.",
    ),
    Claim(
        10,
        "The change is not an effect of the schedule.",
        "no step of the schedule falls on the window",
        "Between models that differ in the schedule alone: how far the window's midpoint moves for each token by which "
        "the schedule moves. Holds if below `half`, fails if above; fails if one of them has a window and the other "
        "has none.",
    ),
    Claim(
        11,
        "The same change comes on another corpus.",
        "it comes in models trained on books alone",
        "In models that differ in the corpus alone, of two and more layers: holds if there is a window on the other "
        "corpus and prefix matching ends above heads.induction_prefix_matching; fails if there is neither.",
    ),
    Claim(
        12,
        "Before the window the loss is flat past about token 50, after it the loss keeps falling along the context.",
        "the slope past token 50 appears at the change",
        "Slope of the loss over ln(index) past the early index: its change over the window. Holds if it is more "
        "negative than -min_slope_change_nats, fails if less.",
    ),
    Claim(
        13,
        "The change sits on repeated sequences: continued ones get better, broken ones worse.",
        "both, in a paragraph of text",
        "Change of the mean loss of both classes of tokens over the window. Holds if continued ones fall and broken "
        "ones rise; fails if neither does; if one does, it cannot be told of the claim as a whole.",
    ),
    Claim(
        14,
        "Smeared keys give a single layer the change.",
        "a change in 1 layer with smeared keys, none with plain keys",
        "Against one layer with plain keys, all else equal: how much more in-context learning there is at the end. "
        "Holds if above min_effect_nats and there is a window with smeared keys and none with plain ones; fails if "
        "there is none with smeared keys.",
    ),
    Claim(
        15,
        "Smeared keys make two layers change earlier.",
        "earlier in 2 layers with smeared keys",
        "Against plain keys, all else equal, seed by seed: how many tokens earlier the window's midpoint lies. Judged "
        "over min_seeds pairs or more: holds if above 0, fails if below; with fewer it cannot be told.",
    ),
    Claim(
        16,
        "In attention-only models nearly all in-context learning that ablations cost is lost with induction heads.",
        "nearly all of it",
        "Last snapshot, patterns preserved, results set to zero: of the sum of all losses of in-context learning, head "
        "by head, the share of induction heads; of a model none of whose heads costs min_effect_nats there is none. "
        "Holds if it is `most` or more and its interval above `half`; fails if under `half` and its interval below "
        "`most`.",
    ),
    Claim(
        17,
        "Ablating most other heads raises in-context learning.",
        "most others raise it",
        "Of the heads that are no induction heads, in attention-only models that have some: the share whose ablation "
        "(as in 16) raises in-context learning. Holds if above `half`, fails if below.",
    ),
    Claim(
        18,
        "Induction heads are the negative extreme of the before-and-after score.",
        "the most negative heads",
        "Last snapshot: the least score of the other heads less that of the induction heads, as a share of the "
        "window's change. Holds if above 0, fails if below.",
    ),
    Claim(
        19,
        "With MLPs the same, weaker.",
        "the same, less pronounced",
        "Last snapshot, as in 16, models with MLPs: in-context learning lost without the best induction head. Holds if "
        "above min_effect_nats, fails if below.",
    ),
    Claim(
        20,
        "Induction heads also do the abstract task.",
        "they attend to labels of the same kind",
        "Attention on labels of the same kind, as a share of that on labels: induction heads less the other heads of "
        "their layers that look at labels as much or more (or, where there are none, all others of their layers). "
        "Holds if above min_task_excess, fails if below.",
    ),
    Claim(
        21,
        "Copying follows the eigenvalues of the OV circuit, prefix matching the trace of the QK circuit.",
        "clear correlations",
        "Rank correlations over the heads of all models, last snapshots. Holds if both are above min_correlation; "
        "fails if either is below.",
    ),
    Claim(
        22,
        "Heads that match prefixes copy, more often than not.",
        "more often than not",
        "Of the heads whose prefix matching is above 0.1 by two standard errors: the share whose copying is above 0. "
        "Holds if above `half`, fails if below.",
    ),
    Claim(
        23,
        "Induction heads sit in certain layers.",
        "the last layer (attention-only), the last but one (5 and 6 layers with MLPs), the first half (24 and 40 "
        "layers)",
        "Of the induction heads of models of these shapes, the share in those layers. Holds if above `half`, fails if "
        "below; of other shapes the paper says nothing.",
    ),
    Claim(
        24,
        "Final in-context learning is about equal from two layers to 13 billion parameters, for any pair of indices.",
        "about 0.4 nats in all",
        "Difference of the final score between the largest and the smallest of three or more sizes of two and more "
        "layers, from a straight line over ln(parameters). Holds if its size is below min_effect_nats; fails if above. "
        "The same for other pairs of indices stands in the reason.",
    ),
    Claim(
        25,
        "Most of the loss gap between sizes forms in the first ten tokens.",
        "most of it",
        "Between the largest and the smallest of two or more sizes of two and more layers: the gap at token 10 over "
        "that at the late index. Holds if above `half`, fails if below.",
    ),
    Claim(
        26,
        "The order of the sizes by how fast their loss falls flips at the change.",
        "it flips at the change",
        "Rank correlation between size and the slope of the loss over ln(tokens), three or more sizes: its sign before "
        "the first of their windows and after the last. Holds if it flips from larger models falling faster to slower "
        "or back; fails if it does not.",
    ),
    Claim(
        27,
        "Over 16 layers, some heads match prefixes and anti-copy.",
        "some such heads",
        "In models of more than 16 layers: heads with prefix matching of heads.induction_prefix_matching or more and "
        "copying below -min_anticopying, both by two standard errors. Holds if there is one, fails if there is none.",
    ),
    Claim(
        28,
        "Ideal attention patterns recover what the heads are worth.",
        "99% (previous token), about 65% ([A][B]…[A]), 10% more ([A][B][C]…[A][B])",
        "Recovered share, less the paper's, in attention-only models of two layers. Holds if it is within "
        "max_recovery_gap of the paper's for every pattern, fails if one is further off.",
    ),
    Claim(
        29,
        "The same signature at every scale.",
        "all sizes up to 13 billion parameters",
        "Sizes of two and more layers at which claims 1, 6 and 9 hold, as a share of three or more sizes. Holds if all "
        "do, fails if one of them fails at some size.",
    ),
)

CLAIMS = {claim.number: claim for claim in _CLAIMS}
"""By number."""
