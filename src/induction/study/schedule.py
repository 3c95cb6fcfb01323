"""What changes while a model trains: learning rates, weight decay, sequences of a step. Pure functions of the step."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from induction.study.strict import Fraction, Strict

MOST_STEPS = 10**9
"""Greatest number of steps of a training."""

Step = Annotated[int, Field(ge=1, le=MOST_STEPS)]
BatchSize = Annotated[int, Field(ge=1, le=2**24)]
WeightDecay = Annotated[float, Field(ge=0, le=100)]


class BatchGrowth(Strict):
    """Another number of sequences in a step, from a step on."""

    step: Step = Field(description="The first step of this size.")
    batch_size: BatchSize = Field(description="Sequences of n_ctx tokens in a step.")


class WeightDecayChange(Strict):
    """Another weight decay, from a step on."""

    step: Step = Field(description="The first step that has it.")
    weight_decay: WeightDecay = Field(description="Decoupled, on matrices only.")


class RateDecay(Strict):
    """How the learning rates fall after the warm-up; its steps are named, so that training longer changes none."""

    shape: Literal["linear", "cosine"] = Field("cosine", description="Form of the fall.")
    start: Annotated[int, Field(ge=0, le=MOST_STEPS)] = Field(description="The step at which it begins.")
    stop: Step = Field(description="The step from which on the rates stay.")
    to: Fraction = Field(0.1, description="Share of the peak rates that is left.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start >= self.stop:
            raise ValueError(f"start: step {self.start} is not before stop: step {self.stop}")
        return self

    def share_at(self, step: int) -> float:
        """Return the share of the peak rates at a step."""
        passed = min(1.0, max(0.0, (step - self.start) / (self.stop - self.start)))
        left = 1 - passed if self.shape == "linear" else (1 + math.cos(math.pi * passed)) / 2
        return self.to + (1 - self.to) * left


class Schedule:
    """The schedule that a model's settings give.

    Args:
        settings: `batch_size`, `warmup_steps`, `weight_decay` and, where there are any, `batch_growth`,
            `weight_decay_changes` and `rate_decay`, as JSON values.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._sizes = [(0, int(settings["batch_size"]))]
        self._sizes += [(row["step"], row["batch_size"]) for row in settings.get("batch_growth") or ()]
        self._weight_decays = [(0, float(settings["weight_decay"]))]
        self._weight_decays += [
            (row["step"], row["weight_decay"]) for row in settings.get("weight_decay_changes") or ()
        ]
        self._warmup_steps = int(settings["warmup_steps"])
        decay = settings.get("rate_decay")
        self._decay = RateDecay.model_validate(decay) if decay else None

    @property
    def batch_sizes(self) -> list[int]:
        """Every number of sequences that a step has."""
        return [size for _, size in self._sizes]

    def batch_size_at(self, step: int) -> int:
        """Return the sequences of a step."""
        return _value_at(step, self._sizes)

    def sequences_before(self, step: int) -> int:
        """Return the sequences read in the first `step` steps."""
        ends = [start for start, _ in self._sizes[1:]] + [step]
        return sum(size * max(0, min(step, end) - start) for (start, size), end in zip(self._sizes, ends, strict=True))

    def steps_within(self, n_sequences: int) -> int:
        """Return how many steps so many sequences suffice for."""
        least = min(self.batch_sizes)
        return bisect_right(range(n_sequences // least + 1), n_sequences, key=self.sequences_before) - 1

    def weight_decay_at(self, step: int) -> float:
        """Return the weight decay of a step."""
        return _value_at(step, self._weight_decays)

    def rate_at(self, step: int) -> float:
        """Return the share of the peak learning rates that a step has."""
        warm = min(1.0, (step + 1) / max(1, self._warmup_steps))
        return warm if self._decay is None else warm * self._decay.share_at(step)


def _value_at(step: int, values: list[tuple[int, Any]]) -> Any:
    return next(value for start, value in reversed(values) if start <= step)
