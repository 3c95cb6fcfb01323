"""How measurements are analysed: intervals, windows, classes of heads. No measurement reads these."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from induction.study.strict import Different, Fraction, Seed, Strict

Snapshots = Annotated[float, Field(gt=0, le=1000)]
Nats = Annotated[float, Field(gt=0, le=100)]
Multiple = Annotated[float, Field(gt=0, le=1e6)]
Tokens = Annotated[float, Field(gt=0, le=1e18)]


class Bootstrap(Strict):
    """Resampling of examples behind every interval."""

    n_resamples: Annotated[int, Field(ge=20, le=100_000)] = Field(500, description="Resamples.")
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="Coverage of the intervals.")
    seed: Seed = Field(0, description="Of the resamples.")


class Phases(Strict):
    """The rules that find a window, or say that there is none. The paper gives no formula: all values are ours."""

    smoothing_snapshots: Snapshots = Field(
        1.0,
        description="Standard deviation of the Gaussian that smooths a rate of change, in snapshots; with more, a "
        "change that comes within the first five or so seems to begin with training.",
    )
    rate_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.6,
        description="The window begins and ends where the rate of change crosses this share of the window's own mean "
        "rate; with less, a slow rise is joined to the jump after it.",
    )
    min_icl_drop_nats: Nats = Field(
        0.12, description="Fall of the windowed ICL score inside the window, below which there is none."
    )
    min_score_rise: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.3, description="Rise of a head score inside its window, below which there is none."
    )
    min_abruptness: Annotated[float, Field(ge=1, le=1e6)] = Field(
        1.5,
        description="Least ratio of the mean rate inside the window to the mean rate before it, over the same length "
        "or from the first snapshot; a straight line has 1.",
    )
    max_duration: Multiple = Field(
        2.5, description="Greatest length of the window, as a multiple of the training before it."
    )
    min_support: Fraction = Field(
        0.5, description="Share of the bootstrap resamples that must have a window, too; with less there is none."
    )
    min_bump_nats: Nats = Field(
        0.02, description="Height of the loss above its lower convex hull over tokens, below which there is no bump."
    )
    min_bump_over_scatter: Multiple = Field(
        2.0,
        description="Least height of a bump, as a multiple of the scatter of the snapshots before its end; of 100 "
        "convex losses with independent noise up to six reach 2.",
    )


class WindowRules(Strict):
    """Other values of the rules in `phases`, one at a time, for which windows are found again."""

    smoothing_snapshots: Different[Snapshots] = Field((0.5, 1.0, 2.0, 3.0), description="See phases.")
    rate_fraction: Different[Annotated[float, Field(gt=0, lt=1)]] = Field(
        (0.3, 0.45, 0.6, 0.75, 0.9), description="See phases."
    )
    min_icl_drop_nats: Different[Nats] = Field((0.03, 0.06, 0.12, 0.24), description="See phases.")
    min_abruptness: Different[Annotated[float, Field(ge=1, le=1e6)]] = Field(
        (1.0, 1.5, 2.0, 3.0), description="See phases."
    )
    max_duration: Different[Multiple] = Field((0.5, 1.0, 2.5, 5.0), description="See phases.")


class Claims(Strict):
    """Bounds of the rules by which claims are judged; the rules stand in docs/claims.md and in table `claims`.

    All but `max_chance`, which was added on 2026-11-30, were fixed before any claim was judged, and none was changed.
    What the paper says in words ("about constant", "most") is a number here. All are ours.
    """

    min_seeds: Annotated[int, Field(ge=2, le=1000)] = Field(
        3,
        description="Seeds from which an interval over seeds is made; with fewer, intervals are over examples. Least "
        "number of pairs in claim 15 and of models in claim 21.",
    )
    early_icl_nats: Nats = Field(
        0.15, description="Claim 1: greatest size of the ICL score before the change (paper: under 0.15)."
    )
    max_drift: Multiple = Field(
        0.5, description="Claim 2: greatest drift of the ICL score after the window, as a share of the jump."
    )
    most: Fraction = Field(0.75, description="Claims 3 and 16: share that is most of it (paper: over 75%).")
    half: Fraction = Field(0.5, description="Claims 3, 10, 16, 17, 22, 23, 25: share below which it is not.")
    max_chance: Fraction = Field(
        0.05,
        description="Claims 1, 6, 7, 8, 9, 29: agreement of change points supports a claim only if its probability by "
        "chance, adjusted by Holm's method, is below this.",
    )
    window_tokens: tuple[Tokens, Tokens] = Field(
        (1e9, 5e9), description="Claim 5: training tokens between which the paper's windows lie."
    )
    min_turn_degrees: Annotated[float, Field(gt=0, le=180)] = Field(
        30.0, description="Claim 9: least turn of the trajectory at a snapshot that counts as a pivot."
    )
    min_slope_change_nats: Nats = Field(
        0.05, description="Claim 12: least change of the slope of the loss over ln(index), nats."
    )
    min_effect_nats: Nats = Field(
        0.05, description="Claims 14, 16, 19, 24: effects on the ICL score smaller than this are none."
    )
    min_task_excess: Fraction = Field(
        0.05, description="Claim 20: least excess of attention on labels of the same kind over other heads'."
    )
    min_correlation: Fraction = Field(0.3, description="Claim 21: rank correlations below this are near 0.")
    min_anticopying: Fraction = Field(0.1, description="Claim 27: copying below minus this is anti-copying.")
    max_recovery_gap: Fraction = Field(
        0.15, description="Claim 28: greatest distance of a recovered share from the paper's."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        first, last = self.window_tokens
        if first >= last:
            raise ValueError(f"window_tokens: {first:g} is not before {last:g}")
        return self


class Heads(Strict):
    """Classes of heads, fixed beforehand, taken at the final snapshot."""

    induction_prefix_matching: Fraction = Field(0.3, description="Induction head: prefix matching of at least this…")
    induction_copying: Annotated[float, Field(ge=-1, le=1)] = Field(0.0, description="…and copying above this.")
    previous_token: Fraction = Field(0.3, description="Previous-token head: attention on the previous token.")
