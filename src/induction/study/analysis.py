"""How measurements are analysed: intervals, windows, classes of heads. No measurement reads these."""

from typing import Annotated

from pydantic import Field

from induction.study.strict import Fraction, PositiveFloat, Strict


class Bootstrap(Strict):
    """Resampling of examples behind every interval."""

    n_resamples: Annotated[int, Field(ge=20)] = Field(500, description="Resamples.")
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="Coverage of the intervals.")
    seed: int = Field(0, description="Of the resamples.")


class Phases(Strict):
    """The rules that find a window, or say that there is none. The paper gives no formula: all values are ours."""

    smoothing_snapshots: PositiveFloat = Field(
        1.0,
        description="Standard deviation of the Gaussian that smooths a rate of change, in snapshots; with more, a "
        "change that comes within the first five or so seems to begin with training.",
    )
    rate_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.6,
        description="The window begins and ends where the rate of change crosses this share of the window's own mean "
        "rate; with less, a slow rise is joined to the jump after it.",
    )
    min_icl_drop_nats: PositiveFloat = Field(
        0.12, description="Fall of the windowed ICL score inside the window, below which there is none."
    )
    min_score_rise: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.3, description="Rise of a head score inside its window, below which there is none."
    )
    min_abruptness: Annotated[float, Field(ge=1)] = Field(
        1.5,
        description="Least ratio of the mean rate inside the window to the mean rate before it, over the same length "
        "or from the first snapshot; a straight line has 1.",
    )
    max_duration: PositiveFloat = Field(
        2.5, description="Greatest length of the window, as a multiple of the training before it."
    )
    min_support: Fraction = Field(
        0.5, description="Share of the bootstrap resamples that must have a window, too; with less there is none."
    )
    min_bump_nats: PositiveFloat = Field(
        0.02, description="Height of the loss above its lower convex hull over tokens, below which there is no bump."
    )
    min_bump_over_scatter: PositiveFloat = Field(
        2.0,
        description="Least height of a bump, as a multiple of the scatter of the snapshots before its end; of 100 "
        "convex losses with independent noise up to six reach 2.",
    )


class Heads(Strict):
    """Classes of heads, fixed beforehand, taken at the final snapshot."""

    induction_prefix_matching: Fraction = Field(0.3, description="Induction head: prefix matching of at least this…")
    induction_copying: Annotated[float, Field(ge=-1, le=1)] = Field(0.0, description="…and copying above this.")
    previous_token: Fraction = Field(0.3, description="Previous-token head: attention on the previous token.")
