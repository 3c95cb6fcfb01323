"""The words of `config/config.yaml` and `config/models.yaml`: every field with its unit, its bounds and its reason."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Strict(BaseModel):
    """A frozen model that refuses words it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


# --- corpora ----------------------------------------------------------------------------------------------------


class Source(Strict):
    """Where documents come from: an installed Python package, or files of one's own."""

    package: str | None = Field(
        None, description="Name of an installed distribution; each matching file is a document."
    )
    version: str | None = Field(
        None, description="Version that the package must have; default: whichever is installed."
    )
    files: str | None = Field(
        None,
        description="Glob of text (.txt, .py, .md, …), .jsonl or .parquet files, plain or compressed (.gz, .bz2, .xz).",
    )
    text_field: str = Field("text", description="Column of .jsonl and .parquet files that holds the text.")
    include: tuple[str, ...] = Field(("*.py",), description="Of a package: file names to take (shell patterns).")
    exclude: tuple[str, ...] = Field((), description="File names to leave out (shell patterns).")
    weight: PositiveFloat | None = Field(
        None, description="Share of the training tokens, relative to the other sources; default: all there is."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.package is None) == (self.files is None):
            raise ValueError("a source names either a package or files")
        if self.version is not None and self.package is None:
            raise ValueError("version belongs to a package")
        return self


class Corpus(Strict):
    """Text, the vocabulary made from it, and what is kept out of training."""

    sources: tuple[Source, ...] = Field(min_length=1, description="Where the documents come from.")
    vocab_size: Annotated[int, Field(ge=257, le=2**20)] = Field(
        1024, description="Tokens of the byte-level BPE vocabulary, start token included."
    )
    min_characters: Annotated[int, Field(ge=0)] = Field(0, description="Documents shorter than this are left out.")
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="Share of documents kept for evaluation, chosen by the hash of their text."
    )
    seed: int = Field(0, description="Decides the order of the documents and which are held out.")

    @model_validator(mode="after")
    def _weights(self) -> Self:
        if len({source.weight is None for source in self.sources}) > 1:
            raise ValueError("give every source a weight, or none")
        return self


# --- models -----------------------------------------------------------------------------------------------------


class SnapshotRule(Strict):
    """Steps at which weights are kept: every so many steps from one step to another, or the powers of two."""

    every: PositiveInt | None = Field(None, description="Distance in steps.")
    powers_of_two: bool = Field(False, description="Steps 1, 2, 4, 8, …")
    start: Annotated[int, Field(ge=0)] = Field(0, description="First step of this rule.")
    stop: PositiveInt | None = Field(None, description="Last step of this rule; default: the end of training.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.every is None) == (not self.powers_of_two):
            raise ValueError("a snapshot rule says either every: N or powers_of_two: true")
        return self


class Shape(Strict):
    """What the transformer and the configuration of a model both say."""

    n_layers: PositiveInt = Field(2, description="Blocks.")
    d_model: PositiveInt = Field(128, description="Width of the residual stream.")
    n_heads: PositiveInt = Field(4, description="Attention heads of a layer.")
    d_mlp: Annotated[int, Field(ge=0)] = Field(0, description="Width of the MLPs; 0: attention-only.")
    n_ctx: Annotated[int, Field(ge=2)] = Field(512, description="Context, in tokens.")
    positions: Literal["infused", "rotary", "learned"] = Field(
        "infused",
        description="infused: sinusoids added to the LayerNorm's output for queries and keys (the paper's).",
    )
    position_amplitude: PositiveFloat = Field(1.5, description="Amplitude of infused sinusoids.")
    rotary_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="Share of d_head that rotary positions turn."
    )
    smeared_keys: bool = Field(False, description="Keys mixed with the previous token's, one trainable share a head.")
    n_local_heads: Annotated[int, Field(ge=0)] = Field(
        0, description="Heads of each layer, counted from the first, that see only a local window."
    )
    local_window: PositiveInt = Field(128, description="Tokens that a local head sees, the current one included.")
    attention_bias: bool = Field(False, description="Biases of queries, keys, values and of the heads' sum.")
    mlp_bias: bool = Field(True, description="Biases of the MLPs.")


class Architecture(Shape):
    """The facts of a decoder-only transformer that its weights do not tell."""

    d_head: PositiveInt = Field(description="Width of a head.")
    vocab_size: PositiveInt = Field(description="Tokens of the vocabulary.")


class ModelFields(Shape):
    """All that defines a model and its training, seed included. Any of these fields can be swept."""

    corpus: str = Field("packages", description="Name of a corpus of this file.")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Decides the initial weights and the order of the data.")
    d_head: PositiveInt | None = Field(None, description="Width of a head; default: d_model / n_heads.")

    optimizer: Literal["adamw", "muon"] = Field(
        "muon", description="muon: Muon for the matrices of the blocks, AdamW for all else."
    )
    learning_rate: PositiveFloat = Field(4e-3, description="AdamW's, after the warm-up.")
    muon_learning_rate: PositiveFloat = Field(0.02, description="Muon's, after the warm-up.")
    beta1: Fraction = Field(0.9, description="AdamW's decay of the mean gradient.")
    beta2: Fraction = Field(0.95, description="AdamW's decay of the mean square.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="Decoupled, on matrices only.")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(50, description="Steps of linear warm-up.")
    gradient_clip: PositiveFloat = Field(1.0, description="Greatest norm of the whole gradient.")
    batch_size: PositiveInt = Field(4, description="Sequences of n_ctx tokens in a step.")
    n_steps: PositiveInt = Field(4000, description="Steps of training.")
    epochs: PositiveFloat = Field(1.0, description="How often the corpus may be gone through; above 1, tokens repeat.")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of the matrix products; weights and optimizer stay float32."
    )

    snapshots: tuple[SnapshotRule, ...] = Field(
        (SnapshotRule(every=100),),
        min_length=1,
        description="Steps at which weights are kept, besides the first and the last.",
    )
    block_snapshots: PositiveInt = Field(12, description="Snapshots of a block: the unit of a training job.")

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
        return self

    def architecture(self, vocab_size: int) -> Architecture:
        """Return the architecture of this model over a vocabulary of `vocab_size` tokens."""
        shape = {name: getattr(self, name) for name in Shape.model_fields}
        return Architecture(d_head=self.d_head or self.d_model // self.n_heads, vocab_size=vocab_size, **shape)


def _divisors(number: int) -> str:
    return ", ".join(str(divisor) for divisor in range(1, number + 1) if number % divisor == 0)


def _all_optional(name: str, doc: str, many: bool) -> type[Strict]:
    """Return the fields of a model, none of them required: one value each, or a list of values each."""
    fields: dict[str, Any] = {}
    for field_name, field in ModelFields.model_fields.items():
        kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        if many:
            kind = Annotated[tuple[kind, ...], Field(min_length=1)]
        fields[field_name] = (kind | None, Field(None, description=field.description))
    return create_model(name, __base__=Strict, __doc__=doc, **fields)


Base = _all_optional("Base", "What all models of a family share; what is not said has the default.", many=False)
Sweep = _all_optional("Sweep", "The values that each swept field takes.", many=True)


class Family(Strict):
    """A base and a sweep: the models are the product of the swept values."""

    label: str = Field(description="What figures call this family.")
    name: str = Field("{family}-{n_layers}l-s{seed}", description="Name of a model: a template over its fields.")
    base: Base = Field(Base(), description="Fields that all models of the family share.")  # type: ignore[valid-type]
    sweep: Sweep = Field(Sweep(), description="Field -> list of values.")  # type: ignore[valid-type]


class ModelsFile(Strict):
    """`config/models.yaml`."""

    corpora: dict[Name, Corpus] = Field(description="Text to train on, by name.")
    families: dict[Name, Family] = Field(description="Models to train, by family.")


# --- studies ----------------------------------------------------------------------------------------------------


class Evaluation(Strict):
    """The examples that every snapshot of every model is evaluated on."""

    n_examples: Annotated[int, Field(ge=2)] = Field(10_000, description="Examples (paper: 10,000).")
    n_tokens: Annotated[int, Field(ge=2)] = Field(512, description="Tokens of an example, start token not counted.")
    seed: int = Field(0, description="Decides the examples and the random index of each.")


class Probes(Strict):
    """Random tokens and real examples that heads are scored on."""

    n_sequences: Annotated[int, Field(ge=1)] = Field(32, description="Sequences of each probe (paper: at least 10).")
    period: Annotated[int, Field(ge=2)] = Field(25, description="Random tokens before they repeat (paper: 25).")
    n_repeats: Annotated[int, Field(ge=2)] = Field(4, description="Times they are shown (paper: 4).")
    commonest_excluded: Fraction = Field(0.05, description="Share of the vocabulary, from its commonest, not drawn.")
    rarest_excluded: Fraction = Field(0.05, description="Share of the vocabulary, from its rarest, not drawn.")
    n_examples: PositiveInt = Field(32, description="Evaluation examples for the previous-token score.")
    seed: int = Field(0, description="Decides the random tokens.")


class InContext(Strict):
    """In-context learning: loss late in the context minus loss early in it. Indices are 1-based."""

    early: PositiveInt = Field(50, description="Token index of the early loss (paper: 50).")
    late: PositiveInt = Field(500, description="Token index of the late loss (paper: 500).")
    early_window: tuple[PositiveInt, PositiveInt] = Field((40, 60), description="Indices of the windowed early loss.")
    late_window: tuple[PositiveInt, PositiveInt] = Field((490, 510), description="Indices of the windowed late loss.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, (first, last) in (("early_window", self.early_window), ("late_window", self.late_window)):
            if first > last:
                raise ValueError(f"{name}: {first} is after {last}")
        if self.early >= self.late:
            raise ValueError(f"early: token {self.early} is not before late: token {self.late}")
        return self

    @property
    def last_index(self) -> int:
        """The greatest token index that these scores read."""
        return max(self.late, self.early_window[1], self.late_window[1])


class Ablations(Strict):
    """Which snapshots and examples heads are ablated on."""

    n_examples: Annotated[int, Field(ge=2)] = Field(256, description="The first so many evaluation examples.")
    every: PositiveInt = Field(4, description="Every so many snapshots, and the last one.")


class Bootstrap(Strict):
    """Resampling of examples behind every interval."""

    n_resamples: Annotated[int, Field(ge=20)] = Field(500, description="Resamples.")
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="Coverage of the intervals.")
    seed: int = Field(0, description="Of the resamples.")


class Phases(Strict):
    """The rules that find a window, or say that there is none. The paper gives no formula: all values are ours."""

    smoothing_snapshots: PositiveFloat = Field(
        1.5, description="Standard deviation of the Gaussian that smooths a signal, in snapshots."
    )
    rate_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25, description="The window is where the rate of change is at least this share of its peak."
    )
    min_icl_drop_nats: PositiveFloat = Field(
        0.12, description="Fall of the windowed ICL score inside the window, below which there is none."
    )
    min_score_rise: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.3, description="Rise of a head score inside its window, below which there is none."
    )
    min_abruptness: PositiveFloat = Field(
        2.0, description="Least ratio of the mean rate inside the window to the mean rate over all of training."
    )


class Heads(Strict):
    """Classes of heads, fixed beforehand, taken at the final snapshot."""

    induction_prefix_matching: Fraction = Field(0.3, description="Induction head: prefix matching of at least this…")
    induction_copying: Annotated[float, Field(ge=-1, le=1)] = Field(0.0, description="…and copying above this.")
    previous_token: Fraction = Field(0.3, description="Previous-token head: attention on the previous token.")


FIGURES = ("phase_change", "smeared_keys", "ablations", "pca")


class FigureModels(Strict):
    """The families that a figure shows."""

    families: tuple[str, ...] = Field(min_length=1, description="Names of families of this study.")


class StudyConfig(Strict):
    """A study: families, how they are evaluated, and the figures drawn of them."""

    description: str = Field(description="One sentence.")
    families: tuple[str, ...] = Field(min_length=1, description="Names of families of models.yaml.")
    evaluation: Evaluation = Evaluation()
    probes: Probes = Probes()
    in_context: InContext = InContext()
    ablations: Ablations = Ablations()
    bootstrap: Bootstrap = Bootstrap()
    phases: Phases = Phases()
    heads: Heads = Heads()
    figures: dict[Literal["phase_change", "smeared_keys", "ablations", "pca"], FigureModels] = Field(
        description="Figure -> the families it shows."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.in_context.last_index > self.evaluation.n_tokens:
            raise ValueError(
                f"in_context: token {self.in_context.last_index} is asked of examples of "
                f"{self.evaluation.n_tokens} tokens (evaluation.n_tokens)"
            )
        if self.ablations.n_examples > self.evaluation.n_examples:
            raise ValueError(
                f"ablations.n_examples: {self.ablations.n_examples} is more than evaluation.n_examples "
                f"{self.evaluation.n_examples}"
            )
        if self.probes.n_examples > self.evaluation.n_examples:
            raise ValueError(
                f"probes.n_examples: {self.probes.n_examples} is more than evaluation.n_examples "
                f"{self.evaluation.n_examples}"
            )
        return self


class ConfigFile(Strict):
    """`config/config.yaml`."""

    study: str = Field(description="The study that is built; on the command line: --config study=NAME.")
    studies: dict[Name, StudyConfig] = Field(description="Studies, by name.")
