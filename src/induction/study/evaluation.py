"""How the models of a study are measured: examples, probes, scores, ablations."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from induction.study.strict import AnySeed, Different, Fraction, Strict

Examples = Annotated[int, Field(ge=2, le=10_000_000)]
Index = Annotated[int, Field(ge=1, le=2**16)]
"""Of a token in an example, counted from 1."""
_MOST_PROBED = 2**27
Nats = Annotated[float, Field(gt=0, le=100)]


class Evaluation(Strict):
    """The examples that every snapshot of every model is evaluated on."""

    n_examples: Examples = Field(10_000, description="Examples (paper: 10,000).")
    n_tokens: Annotated[int, Field(ge=12, le=2**16)] = Field(
        512, description="Tokens of an example, start token not counted; at least 12, for the loss at the tenth."
    )
    seed: AnySeed = Field(0, description="Decides the examples and the random index of each.")


class Probes(Strict):
    """Random tokens and real examples that heads are scored on."""

    n_sequences: Annotated[int, Field(ge=1, le=100_000)] = Field(
        32, description="Sequences of each probe (paper: at least 10)."
    )
    period: Annotated[int, Field(ge=2, le=2**15)] = Field(
        25, description="Random tokens before they repeat (paper: 25)."
    )
    n_repeats: Annotated[int, Field(ge=2, le=2**10)] = Field(4, description="Times they are shown (paper: 4).")
    other_periods: Annotated[tuple[Annotated[int, Field(ge=2, le=2**15)], ...], Field(max_length=32)] = Field(
        (),
        description="Other periods at which prefix matching is measured in the last snapshot; the class of a head is "
        "by `period` alone. Each is shown n_repeats times or, where that is longer than evaluation.n_tokens, as often "
        "as fits.",
    )
    commonest_excluded: Fraction = Field(
        0.05, description="Share of the tokens seen in training, from the commonest, not drawn."
    )
    rarest_excluded: Fraction = Field(
        0.05, description="Share of the tokens seen in training, from the rarest, not drawn."
    )
    n_examples: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        32, description="Evaluation examples for the previous-token score."
    )
    seed: AnySeed = Field(0, description="Decides the random tokens.")

    @model_validator(mode="after")
    def _periods_differ(self) -> Self:
        if len({self.period, *self.other_periods}) <= len(self.other_periods):
            raise ValueError(
                f"other_periods: {', '.join(map(str, self.other_periods))} and period {self.period}: one is there "
                "twice. Name each period once"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialise(self)
        if not self.other_periods:
            content.pop("other_periods", None)
        return content

    @model_validator(mode="after")
    def _within_memory(self) -> Self:
        n_tokens = self.n_sequences * self.period * self.n_repeats
        if n_tokens > _MOST_PROBED:
            raise ValueError(
                f"n_sequences: {self.n_sequences} sequences of period {self.period} x n_repeats {self.n_repeats} do "
                f"not fit into memory; permitted: {_MOST_PROBED:,} tokens"
            )
        return self


class InContext(Strict):
    """In-context learning: loss late in the context minus loss early in it. Indices are 1-based."""

    early: Index = Field(50, description="Token index of the early loss (paper: 50).")
    late: Index = Field(500, description="Token index of the late loss (paper: 500).")
    early_window: tuple[Index, Index] = Field((40, 60), description="Indices of the windowed early loss.")
    late_window: tuple[Index, Index] = Field((490, 510), description="Indices of the windowed late loss.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, (first, last) in (("early_window", self.early_window), ("late_window", self.late_window)):
            if first > last:
                raise ValueError(f"{name}: {first} is after {last}")
        if self.early_window[1] >= self.late_window[0]:
            raise ValueError(
                f"early_window: {list(self.early_window)} does not end before late_window: {list(self.late_window)}"
            )
        if self.early >= self.late:
            raise ValueError(f"early: token {self.early} is not before late: token {self.late}")
        return self

    @property
    def last_index(self) -> int:
        """The greatest token index that these scores read."""
        return max(self.late, self.early_window[1], self.late_window[1])


class Ablations(Strict):
    """Which snapshots and examples heads are ablated on, and what stands for an ablated head's result."""

    n_examples: Annotated[int, Field(ge=2, le=10_000_000, multiple_of=2)] = Field(
        256, description="The first so many evaluation examples; even, since resampling pairs them."
    )
    every: Annotated[int, Field(ge=1, le=10**6)] = Field(4, description="Every so many snapshots, and the last one.")
    replacements: Different[Literal["zero", "mean", "resample"]] = Field(
        ("zero", "mean", "resample"),
        min_length=1,
        description="zero: nothing (the paper's). mean: the result's mean over examples at that position. resample: "
        "the result on another example, at that position.",
    )
    every_way: Literal["last", "all"] = Field(
        "last",
        description="Snapshots on which all replacements and frozen norms are measured: the last one, or all that are "
        "ablated; on the others zero alone, norms recomputed.",
    )
    n_random_sets: Annotated[int, Field(ge=0, le=1000)] = Field(
        3, description="Random sets of heads that each class's heads, ablated together, are held against."
    )

    @model_validator(mode="after")
    def _zero_included(self) -> Self:
        if "zero" not in self.replacements:
            raise ValueError("replacements: zero is needed, the analysis reads it")
        return self


class Idealised(Strict):
    """What heads with an ideal attention pattern are measured on."""

    n_examples: Examples = Field(256, description="The first so many evaluation examples.")


class Prompts(Strict):
    """The abstract task: lines such as `June grape: 1`, whose label depends on the kinds of both words."""

    n_prompts: Annotated[int, Field(ge=1, le=10_000)] = Field(32, description="Prompts.")
    n_lines: Annotated[int, Field(ge=8, le=1000)] = Field(
        28, description="Lines of a prompt (paper: 28); fewer where they do not fit the evaluation's n_tokens."
    )
    seed: AnySeed = Field(0, description="Decides the words.")


class Repetitions(Strict):
    """Which tokens continue or break a repetition, and the passages that show it."""

    prefix: Annotated[int, Field(ge=1, le=1000)] = Field(
        1, description="Tokens before a token that are looked for earlier in the example; any occurrence counts."
    )
    n_passages: Annotated[int, Field(ge=1, le=1000)] = Field(
        2, description="Passages to show, those with the most repetition."
    )
    passage_tokens: Annotated[int, Field(ge=8, le=2**16)] = Field(128, description="Tokens of a passage.")


class CaseStudies(Strict):
    """Heads that are looked at one by one."""

    n_tokens: Annotated[int, Field(ge=8, le=1000)] = Field(
        40, description="Tokens of the first passage that are shown: those with the most continued repetitions."
    )


class Watch(Strict):
    """What is looked at while a model trains, and what is announced as its phase change. It changes no training."""

    every: Annotated[int, Field(ge=0, le=10**9)] = Field(50, description="Steps from one look to the next; 0: never.")
    n_sequences: Annotated[int, Field(ge=1, le=100_000)] = Field(
        4, description="Sequences of repeated random tokens, as `probes` says."
    )
    n_examples: Examples = Field(16, description="Held-out examples, as long as `in_context` needs them.")
    min_prefix_matching: Fraction = Field(
        0.1, description="The change begins where the best head's prefix matching is at least this…"
    )
    min_rise: Annotated[float, Field(ge=1, le=1e6)] = Field(3.0, description="…and this multiple of its median before.")
    min_icl_fall_nats: Nats = Field(0.1, description="The change is seen where ICL has since fallen by at least this…")
    min_fall_over_noise: Annotated[float, Field(gt=0, le=1e6)] = Field(
        3.0, description="…and by this multiple of its standard error, from its scatter before."
    )
