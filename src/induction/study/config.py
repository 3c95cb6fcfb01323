"""The words of `config/config.yaml` and `config/models.yaml`: every field with its unit, its bounds and its reason."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, create_model, model_validator

from induction.study.analysis import Bootstrap, Claims, Heads, Phases, WindowRules
from induction.study.architecture import Architecture, Shape
from induction.study.corpora import Corpus
from induction.study.evaluation import (
    Ablations,
    CaseStudies,
    Evaluation,
    Idealised,
    InContext,
    Probes,
    Prompts,
    Repetitions,
    Watch,
)
from induction.study.schedule import (
    MOST_STEPS,
    BatchGrowth,
    BatchSize,
    RateDecay,
    Schedule,
    Step,
    WeightDecay,
    WeightDecayChange,
)
from induction.study.strict import MOST_CHARACTERS, MOST_ENTRIES, Different, Line, Name, Seed, Several, Strict

MOST_SNAPSHOTS = 100_000
"""Greatest number of snapshots of a model."""
_MOST_TOKENS = 2**36
"""Greatest number of tokens of a step."""
_MOST_RESAMPLED, _MOST_EVALUATED = 10**9, 2**32
_Deviation = Annotated[float, Field(ge=1e-9, le=1000)]
_Rate = Annotated[float, Field(ge=1e-12, le=10)]
_Decay = Annotated[float, Field(ge=0, lt=1)]


# --- models -----------------------------------------------------------------------------------------------------


Label = Annotated[Line, Field(max_length=MOST_CHARACTERS)]


class SnapshotRule(Strict):
    """Steps at which weights are kept: every so many steps from one step to another, or the powers of two."""

    every: Step | None = Field(None, description="Distance in steps.")
    powers_of_two: bool = Field(False, description="Steps 1, 2, 4, 8, …")
    start: Annotated[int, Field(ge=0, le=MOST_STEPS)] = Field(0, description="First step of this rule.")
    stop: Step | None = Field(None, description="Last step of this rule; default: the end of training.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.every is None) == (not self.powers_of_two):
            raise ValueError("a snapshot rule says either every: N or powers_of_two: true")
        if self.stop is not None and self.stop < self.start:
            raise ValueError(f"stop: step {self.stop} is before start: step {self.start}")
        return self

    def steps(self, n_steps: int) -> Sequence[int]:
        """Return the steps of this rule in a training of `n_steps` steps, ascending."""
        stop = min(self.stop or n_steps, n_steps)
        if self.every:
            return range(self.start, stop + 1, self.every)
        powers = (2**exponent for exponent in range(stop.bit_length()))
        return [step for step in powers if self.start <= step <= stop]


class ModelFields(Shape):
    """All that defines a model and its training, seed included. Any of these fields can be swept."""

    corpus: Name = Field("packages", description="Name of a corpus of this file.")
    seed: Seed = Field(0, description="Decides the initial weights and the order of the data.")
    d_head: Annotated[int, Field(ge=1, le=2**16)] | None = Field(
        None, description="Width of a head; default: d_model / n_heads."
    )

    init_deviation: _Deviation = Field(
        0.02, description="Standard deviation of the initial matrices; of those that write, less by sqrt(2 n_layers)."
    )
    embedding_deviation: _Deviation = Field(0.3, description="Standard deviation of the initial embedding.")
    optimizer: Literal["adamw", "muon"] = Field(
        "muon", description="muon: Muon for the matrices of the blocks, AdamW for all else."
    )
    learning_rate: _Rate = Field(4e-3, description="AdamW's, after the warm-up.")
    muon_learning_rate: _Rate = Field(0.02, description="Muon's, after the warm-up.")
    beta1: _Decay = Field(0.9, description="AdamW's decay of the mean gradient.")
    beta2: _Decay = Field(0.95, description="AdamW's decay of the mean square.")
    weight_decay: WeightDecay = Field(0.01, description="Decoupled, on matrices only.")
    weight_decay_changes: Several[WeightDecayChange] | None = Field(
        None, description="Other weight decays from some steps on, in their order; default: it stays."
    )
    warmup_steps: Annotated[int, Field(ge=0, le=MOST_STEPS)] = Field(50, description="Steps of linear warm-up.")
    rate_decay: RateDecay | None = Field(
        None, description="How the learning rates fall after the warm-up; default: they stay."
    )
    gradient_clip: Annotated[float, Field(ge=1e-9, le=1e9)] = Field(
        1.0, description="Greatest norm of the whole gradient."
    )
    batch_size: BatchSize = Field(4, description="Sequences of n_ctx tokens in a step.")
    batch_growth: Several[BatchGrowth] | None = Field(
        None, description="Other batch sizes from some steps on, in their order; default: it stays."
    )
    n_steps: Step = Field(4000, description="Steps of training.")
    epochs: Annotated[float, Field(ge=1e-6, le=1e6)] = Field(
        1.0, description="How often the corpus may be gone through; above 1, tokens repeat."
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of the matrix products; weights and optimizer stay float32."
    )

    snapshots: Several[SnapshotRule] = Field(
        (SnapshotRule(every=100),),
        min_length=1,
        description="Steps at which weights are kept, besides the first and the last.",
    )
    block_snapshots: Annotated[int, Field(ge=1, le=MOST_SNAPSHOTS)] = Field(
        12, description="Snapshots of a block: the unit of a training job."
    )
    ablated_examples: Annotated[int, Field(ge=2, le=10_000_000, multiple_of=2)] | None = Field(
        None, description="Examples that this model's heads are ablated on, if fewer than the study's; even."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(
                f"n_heads: {self.n_heads} heads do not divide d_model {self.d_model}; "
                f"permitted: {_divisors(self.d_model)} (or give d_head)"
            )
        if self.n_local_heads > self.n_heads:
            raise ValueError(f"n_local_heads: {self.n_local_heads} is more than n_heads {self.n_heads}")
        if self.positions == "infused" and self.d_model % 2:
            raise ValueError(f"d_model: {self.d_model} is odd; infused positions need pairs of sine and cosine")
        if self.positions == "rotary" and int(self._width_of_head * self.rotary_fraction) < 2:
            raise ValueError(
                f"rotary_fraction: {self.rotary_fraction:g} of a head's width {self._width_of_head} is less than one "
                "pair; raise it"
            )
        for name in ("batch_growth", "weight_decay_changes"):
            steps = [change.step for change in getattr(self, name) or ()]
            if steps != sorted(set(steps)):
                raise ValueError(f"{name}: steps {steps} are not in ascending order")
        largest = max([self.batch_size, *(change.batch_size for change in self.batch_growth or ())])
        if largest * self.n_ctx > _MOST_TOKENS:
            raise ValueError(
                f"batch_size: {largest} sequences of n_ctx {self.n_ctx} are more tokens than a step can have; "
                f"permitted: {_MOST_TOKENS:,}"
            )
        for number, rule in enumerate(self.snapshots):
            if not rule.steps(self.n_steps):
                raise ValueError(
                    f"snapshots.{number}: this rule has no step from 0 to n_steps {self.n_steps}; remove it or change "
                    "its start and stop"
                )
        return self

    def architecture(self, vocab_size: int) -> Architecture:
        """Return the architecture of this model over a vocabulary of `vocab_size` tokens."""
        shape = {name: getattr(self, name) for name in Shape.model_fields}
        return Architecture(d_head=self._width_of_head, vocab_size=vocab_size, **shape)

    @property
    def n_parameters(self) -> int:
        """Weights of the blocks' matrices, embeddings not counted (paper: 12 n_layers d_model^2 with MLPs)."""
        return self.n_layers * (4 * self.n_heads * self._width_of_head + 2 * self.d_mlp) * self.d_model

    @property
    def tokens_per_step(self) -> int:
        """Training tokens of a step, before the batch grows."""
        return self.batch_size * self.n_ctx

    @cached_property
    def schedule(self) -> Schedule:
        """What changes from step to step."""
        return Schedule(self.model_dump(mode="json"))

    @property
    def _width_of_head(self) -> int:
        return self.d_head or self.d_model // self.n_heads


def _divisors(number: int) -> str:
    return ", ".join(str(divisor) for divisor in range(1, number + 1) if number % divisor == 0)


def _all_optional(name: str, doc: str, many: bool) -> type[Strict]:
    """Return the fields of a model, none of them required: one value each, or a list of values each."""
    fields: dict[str, Any] = {}
    for field_name, field in ModelFields.model_fields.items():
        kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        if many:
            kind = Annotated[Several[kind], Field(min_length=1)]
        fields[field_name] = (kind | None, Field(None, description=field.description))
    return create_model(name, __base__=Strict, __doc__=doc, **fields)


if TYPE_CHECKING:
    Base: TypeAlias = Strict
    Sweep: TypeAlias = Strict
else:
    Base = _all_optional("Base", "What all models of a family share; what is not said has the default.", many=False)
    Sweep = _all_optional("Sweep", "The values that each swept field takes.", many=True)


class Family(Strict):
    """A base, a sweep and, where fields change together, sizes: the models are each size with all swept values."""

    label: Label = Field(description="What figures call this family.")
    group: Label = Field(
        "", description="Models of one group and corpus share principal components; default: all of a corpus do."
    )
    name: Line = Field("{family}-{n_layers}l-s{seed}", description="Name of a model: a template over its fields.")
    base: Base = Field(Base(), description="Fields that all models of the family share.")
    sizes: Several[Base] = Field((), description="Values of fields that change together, an entry a size.")
    sweep: Sweep = Field(Sweep(), description="Field -> list of values.")

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        swept = self.sweep.model_dump(exclude_none=True)
        for number, size in enumerate(self.sizes):
            if twice := [name for name in size.model_dump(exclude_unset=True) if name in swept]:
                raise ValueError(f"sizes.{number}.{twice[0]}: is swept too; say it in one place")
        return self


class ModelsFile(Strict):
    """`config/models.yaml`."""

    corpora: dict[Name, Corpus] = Field(max_length=MOST_ENTRIES, description="Text to train on, by name.")
    families: dict[Name, Family] = Field(max_length=MOST_ENTRIES, description="Models to train, by family.")


# --- studies ----------------------------------------------------------------------------------------------------


FigureName = Literal[
    "phase_change",
    "heat_maps",
    "pca",
    "tokens",
    "smeared_keys",
    "ablations",
    "case_studies",
    "circuits",
    "idealised",
    "model_analysis",
    "loss_by_index",
    "order_inversion",
    "head_scores",
    "icl_indices",
    "window_rules",
    "class_thresholds",
]


class FigureModels(Strict):
    """The families that a figure shows, and its axis of training tokens."""

    families: Different[Name] = Field(min_length=1, description="Names of families of this study.")
    time: Literal["linear", "log"] = Field(
        "linear", description="Axis of training tokens; that of model_analysis is also that of the pages of models."
    )


class StudyConfig(Strict):
    """A study: families, how they are evaluated, and the figures drawn of them."""

    description: Line = Field(description="One sentence.")
    families: Different[Name] = Field(min_length=1, description="Names of families of models.yaml.")
    sweeps: dict[Name, Sweep] = Field(
        {},
        max_length=MOST_ENTRIES,
        description="Family -> values that its sweep takes in this study; what is not said stays as it is there.",
    )
    evaluation: Evaluation = Evaluation()
    probes: Probes = Probes()
    watch: Watch = Watch()
    in_context: InContext = InContext()
    ablations: Ablations = Ablations()
    idealised: Idealised = Idealised()
    repetitions: Repetitions = Repetitions()
    prompts: Prompts = Prompts()
    case_studies: CaseStudies = CaseStudies()
    bootstrap: Bootstrap = Bootstrap()
    phases: Phases = Phases()
    heads: Heads = Heads()
    window_rules: WindowRules = WindowRules()
    claims: Claims = Claims()
    figures: dict[FigureName, FigureModels] = Field(min_length=1, description="Figure -> the families it shows.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.in_context.last_index > self.evaluation.n_tokens:
            raise ValueError(
                f"in_context: token {self.in_context.last_index} is asked of examples of "
                f"{self.evaluation.n_tokens} tokens (evaluation.n_tokens)"
            )
        for part in ("ablations", "idealised", "probes"):
            asked = getattr(self, part).n_examples
            if asked > self.evaluation.n_examples:
                raise ValueError(
                    f"{part}.n_examples: {asked} is more than evaluation.n_examples {self.evaluation.n_examples}"
                )
        passage, shown = self.repetitions.passage_tokens, self.case_studies.n_tokens
        if passage > self.evaluation.n_tokens:
            raise ValueError(
                f"repetitions.passage_tokens: {passage} is more than evaluation.n_tokens {self.evaluation.n_tokens}"
            )
        resampled = self.bootstrap.n_resamples * self.evaluation.n_examples
        if resampled > _MOST_RESAMPLED:
            raise ValueError(
                f"bootstrap.n_resamples: {self.bootstrap.n_resamples} resamples of evaluation.n_examples "
                f"{self.evaluation.n_examples} do not fit into memory; permitted: {_MOST_RESAMPLED:,} in all"
            )
        if self.evaluation.n_examples * self.evaluation.n_tokens > _MOST_EVALUATED:
            raise ValueError(
                f"evaluation.n_examples: {self.evaluation.n_examples} examples of {self.evaluation.n_tokens} tokens do "
                f"not fit into memory; permitted: {_MOST_EVALUATED:,} tokens"
            )
        if self.repetitions.prefix >= passage:
            raise ValueError(
                f"repetitions.prefix: {self.repetitions.prefix} is not less than repetitions.passage_tokens {passage}"
            )
        if shown > passage:
            raise ValueError(f"case_studies.n_tokens: {shown} is more than repetitions.passage_tokens {passage}")
        return self


class ConfigFile(Strict):
    """`config/config.yaml`."""

    study: Name = Field(description="The study that is built; on the command line: --config study=NAME.")
    studies: dict[Name, StudyConfig] = Field(max_length=MOST_ENTRIES, description="Studies, by name.")
