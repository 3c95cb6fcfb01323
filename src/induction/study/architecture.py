"""The shape of a transformer: what its weights do not tell."""

from typing import Annotated, Literal

from pydantic import Field

from induction.study.strict import Strict


class Shape(Strict):
    """What the transformer and the configuration of a model both say."""

    n_layers: Annotated[int, Field(ge=1, le=1000)] = Field(2, description="Blocks.")
    d_model: Annotated[int, Field(ge=1, le=2**17)] = Field(128, description="Width of the residual stream.")
    n_heads: Annotated[int, Field(ge=1, le=2**12)] = Field(4, description="Attention heads of a layer.")
    d_mlp: Annotated[int, Field(ge=0, le=2**20)] = Field(0, description="Width of the MLPs; 0: attention-only.")
    n_ctx: Annotated[int, Field(ge=2, le=2**20)] = Field(512, description="Context, in tokens.")
    positions: Literal["infused", "rotary", "learned"] = Field(
        "infused",
        description="infused: sinusoids added to the LayerNorm's output for queries and keys (the paper's).",
    )
    position_amplitude: Annotated[float, Field(ge=1e-6, le=1e6)] = Field(
        1.5, description="Amplitude of infused sinusoids."
    )
    rotary_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="Share of d_head that rotary positions turn."
    )
    smeared_keys: bool = Field(False, description="Keys mixed with the previous token's, one trainable share a head.")
    n_local_heads: Annotated[int, Field(ge=0, le=2**12)] = Field(
        0, description="Heads of each layer, counted from the first, that see only a local window."
    )
    local_window: Annotated[int, Field(ge=1, le=2**20)] = Field(
        128, description="Tokens that a local head sees, the current one included."
    )
    attention_bias: bool = Field(False, description="Biases of queries, keys, values and of the heads' sum.")
    mlp_bias: bool = Field(True, description="Biases of the MLPs.")


class Architecture(Shape):
    """The facts of a decoder-only transformer that its weights do not tell."""

    d_head: Annotated[int, Field(ge=1, le=2**16)] = Field(description="Width of a head.")
    vocab_size: Annotated[int, Field(ge=1, le=2**20)] = Field(description="Tokens of the vocabulary.")
