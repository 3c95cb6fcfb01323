"""Which GPUs a model trains on and how, from its size, its batches and the site: parameters, operations, bytes.

Where the bytes of training go, a rank's, with P parameters and N ranks:

| | stage 0, float32 or autocast | stages 1, 2, 3, bfloat16 |
|---|---|---|
| weights | 4 P, and 2 P of bf16 copies if autocast | 2 P; stage 3: 2 P / N |
| gradients, summed in float32 | 4 P | 4 P; stages 2 and 3: 4 P / N |
| AdamW's two moments | 8 P | 8 P / N |
| float32 masters | the weights | 4 P / N |

Muon keeps one moment of its matrices; it is counted as AdamW. Source: Rajbhandari et al. 2020, ZeRO, section 3, there
with gradients in 16 bits.
"""

import math
from dataclasses import dataclass

from induction.errors import InductionError
from induction.study.architecture import Architecture
from induction.study.config import ModelFields
from induction.study.site import Site

HEADROOM = 0.9
"""Share of a rank's memory that is planned with: the allocator's fragments and passing tensors take the rest."""
BUCKET_NUMBERS = 500_000_000
"""Numbers of gradients or weights that ranks exchange at once (DeepSpeed's own default)."""
LIVE_NUMBERS = 1_000_000_000
"""At stage 3: weights that a rank gathers at most at a time (DeepSpeed's own default)."""
_RUNTIME_GB = {"gpu": 2.0, "cpu": 0.8}
"""Python, torch and, on a GPU, the context, cuBLAS's workspaces and NCCL's buffers."""
_BYTES_A_LOGIT = {"bfloat16": 2 + 4 + 4 + 4, "float32": 4 + 4 + 4 + 4}
"""Logits, their log-softmax in float32, which is kept, and in float32 the gradients of both."""
_MOST_TOKENS_AT_ONCE = 1 << 17
"""Beyond so many tokens a rank a larger micro-batch makes no GPU faster."""

_CHOICES = [(0, False), (1, False), (2, False), (0, True), (1, True), (2, True), (3, False), (3, True)]
"""ZeRO stages without and with checkpointed activations, cheapest first.

Stages 1 and 2 exchange as much as stage 0. Checkpointing computes the blocks' forward pass once more, a third more
work; stage 3 gathers the weights twice for every micro-batch, which between nodes costs more than that.
"""


@dataclass(frozen=True)
class Placement:
    """How a model is trained: on how many GPUs (ranks), how its state is divided, how a step's batch is cut.

    `accumulation`: micro-batches that a rank adds up in a step, for each batch size of the schedule; micro_batch x
    accumulation x n_ranks is the batch size. `memory_gb`: estimated for a rank, GB (10^9 bytes).
    """

    n_nodes: int
    ranks_per_node: int
    n_ranks: int
    zero_stage: int
    micro_batch: int
    accumulation: tuple[int, ...]
    checkpoint_activations: bool
    memory_gb: float
    reason: str


def place(fields: ModelFields, architecture: Architecture, site: Site, name: str = "the model") -> Placement:
    """Place a model's training on a site.

    As few ranks as train it within the days that the site aims at, else as many as site and batches permit; the
    cheapest of stages and checkpointing that fits; the largest micro-batch that fits. The recipe stays what it is.

    Args:
        fields: the model's recipe.
        architecture: the model's, with its vocabulary.
        site: the cluster.
        name: of the model, for messages.

    Raises:
        InductionError: it fits on no number of ranks that the site has.
    """
    case = _Case(fields, architecture, site, name)
    chosen: tuple[int, int, int, bool] | None = None
    for n_nodes, a_node in case.layouts():
        fitting = next((choice for choice in case.choices() if case.fits(n_nodes * a_node, *choice, 1)), None)
        if fitting is None:
            continue
        chosen = (n_nodes, a_node, *fitting)
        if case.days(n_nodes * a_node, fitting[1]) <= site.jobs.training_days:
            break
    if chosen is None:
        raise case.too_large()
    n_nodes, a_node, stage, checkpointed = chosen
    n_ranks = n_nodes * a_node
    sizes = fields.schedule.batch_sizes
    micro = max(
        size
        for size in _divisors(math.gcd(*sizes) // n_ranks)
        if size == 1 or (size * fields.n_ctx <= _MOST_TOKENS_AT_ONCE and case.fits(n_ranks, stage, checkpointed, size))
    )
    return Placement(
        n_nodes=n_nodes,
        ranks_per_node=a_node,
        n_ranks=n_ranks,
        zero_stage=stage,
        micro_batch=micro,
        accumulation=tuple(size // (micro * n_ranks) for size in sizes),
        checkpoint_activations=checkpointed,
        memory_gb=case.rank_gb(n_ranks, stage, checkpointed, micro),
        reason=case.reason(n_ranks, stage, checkpointed),
    )


@dataclass(frozen=True)
class _Case:
    """A model to be placed on a site."""

    fields: ModelFields
    architecture: Architecture
    site: Site
    name: str

    def layouts(self) -> list[tuple[int, int]]:
        """Return numbers of nodes and of ranks on each, fewest ranks first; all divide every batch of the schedule.

        Several nodes are used whole, or as far as the batches divide.
        """
        shared = math.gcd(*self.fields.schedule.batch_sizes)
        within = [size for size in _divisors(shared) if size <= self.site.node.ranks]
        most = within[-1]
        several = [(n, most) for n in _divisors(shared // most) if 2 <= n <= self.site.jobs.nodes]
        return [(1, size) for size in within] + several

    def choices(self) -> list[tuple[int, bool]]:
        """Return the stages, without and with checkpointing, that may be taken, cheapest first."""
        if self.fields.optimizer == "muon":  # its step needs whole matrices
            return [choice for choice in _CHOICES if choice[0] == 0]
        return [choice for choice in _CHOICES if choice[0] >= self.site.jobs.least_zero_stage]

    def planned_gb(self) -> float:
        """Return the memory of a rank that is planned with, GB."""
        return HEADROOM * self.site.rank_memory_gb

    def fits(self, n_ranks: int, stage: int, checkpointed: bool, micro: int) -> bool:
        """Tell whether training fits into a rank's memory."""
        return self.rank_gb(n_ranks, stage, checkpointed, micro) <= self.planned_gb()

    def rank_gb(self, n_ranks: int, stage: int, checkpointed: bool, micro: int) -> float:
        """Return what a rank needs, GB: state, what backward needs, positions, buffers of exchange, the runtime."""
        low, accelerator = self.fields.dtype == "bfloat16", self.site.node.accelerator
        weights = n_parameters(self.architecture)
        passing = activation_bytes(
            self.architecture, micro, low=low, stage=stage, checkpointed=checkpointed, fused=accelerator == "gpu"
        )
        if stage in (1, 2) and low:
            # Gradients of the backward pass, before they are added in float32, grow as activations go.
            passing = max(passing, 2 * weights)
        # Gradients are exchanged in float32, a bucket while the next one fills.
        exchanged = 2 * 4 * min(weights, BUCKET_NUMBERS) if n_ranks > 1 else 0
        state = state_bytes(weights, stage, n_ranks, low=low)
        return (state + passing + position_bytes(self.architecture) + exchanged) / 1e9 + _RUNTIME_GB[accelerator]

    def days(self, n_ranks: int, checkpointed: bool) -> float:
        """Return how long training takes."""
        seconds = training_seconds(self.fields, self.architecture, self.site, n_ranks, checkpointed=checkpointed)
        return seconds / 86_400

    def reason(self, n_ranks: int, stage: int, checkpointed: bool) -> str:
        """Say why so many ranks, and why the state is divided or activations are checkpointed."""
        taken, aimed = self.days(n_ranks, checkpointed), self.site.jobs.training_days
        said = f"{_days_told(taken)} on {n_ranks} {self.site.rank_name}, aimed at {aimed:g} days"
        if taken > aimed:
            said += "; no more ranks divide the batches on this site"
        if stage or checkpointed:
            whole = self.rank_gb(n_ranks, 0, False, 1)
            said += f"; undivided it needs {whole:.3g} GB a rank, {self.planned_gb():.3g} are planned with"
        return said

    def too_large(self) -> InductionError:
        """Return what is told of a model that fits nowhere."""
        n_ranks = max(n_nodes * a_node for n_nodes, a_node in self.layouts())
        needed, stage, checkpointed = min(
            (self.rank_gb(n_ranks, stage, checkpointed, 1), stage, checkpointed)
            for stage, checkpointed in self.choices()
        )
        muon = " Muon trains at stage 0 alone, its step needs whole matrices; AdamW permits stages 1 to 3."
        return InductionError(
            f"{self.name} ({n_parameters(self.architecture):,} parameters, contexts of {self.architecture.n_ctx} "
            f"tokens) does not fit on {self.site.name}: at the least it needs {needed:.1f} GB of a "
            f"{self.site.rank_name} (ZeRO stage {stage} on {n_ranks} ranks, a sequence at a time"
            f"{', activations checkpointed' if checkpointed else ''}), which has {self.site.rank_memory_gb:.1f} GB; "
            f"{self.planned_gb():.1f} are planned with.{muon if self.fields.optimizer == 'muon' else ''} "
            "Raise jobs.nodes or take GPUs with more memory in the site file, or lower n_ctx, d_model or n_layers."
        )


def _days_told(days: float) -> str:
    return f"{days:.1f} days" if days >= 2 else f"{24 * days:.1f} hours"


def _divisors(number: int) -> list[int]:
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return sorted({*small, *(number // divisor for divisor in small)})


# --- bytes ------------------------------------------------------------------------------------------------------


def state_bytes(weights: int, stage: int, n_ranks: int, *, low: bool) -> float:
    """Return the bytes of weights, gradients, moments and masters on a rank; see the table above.

    Args:
        weights: number of parameters.
        stage: of ZeRO, 0 to 3.
        n_ranks: over which the state is divided.
        low: products in bfloat16.
    """
    if stage == 0:
        return (18 if low else 16) * weights
    copies = (2 if low else 4) * weights
    gradients = 4 * weights
    divided = 12 * weights / n_ranks
    if stage == 3:
        return copies / n_ranks + gradients / n_ranks + divided + copies * min(1, LIVE_NUMBERS / weights)
    return copies + (gradients / n_ranks if stage == 2 else gradients) + divided


def activation_bytes(
    architecture: Architecture, micro: int, *, low: bool, stage: int, checkpointed: bool, fused: bool
) -> int:
    """Return the bytes that the forward pass keeps for the backward pass, logits included.

    As Korthikanti et al. 2022, section 4, with fused attention, which keeps no pattern, and without dropout.

    Args:
        architecture: of the model.
        micro: sequences of n_ctx tokens.
        low: products in bfloat16.
        stage: of ZeRO; at stage 0 autocast keeps the stream in float32.
        checkpointed: whether of each block only its input is kept.
        fused: whether attention is; on a CPU it is not.
    """
    product = 2 if low else 4
    stream = 2 if low and stage else 4
    d_model, width = architecture.d_model, architecture.n_heads * architecture.d_head
    # LayerNorm's input; what queries, keys and values are made from; these; the mix, as heads and side by side.
    block = stream * d_model + product * (3 * d_model + 5 * width) + 4 * architecture.n_heads
    if architecture.smeared_keys:
        block += 2 * product * width
    if architecture.d_mlp:
        block += stream * d_model + product * (d_model + 2 * architecture.d_mlp)
    if not fused:
        # Patterns in float32, and where products are in bf16 a copy: of queries 128 at a time, with the keys before.
        block += (6 if low else 4) * architecture.n_heads * (architecture.n_ctx + 128) // 2
    kept = architecture.n_layers * (stream * d_model if checkpointed else block) + (block if checkpointed else 0)
    ends = (stream + product) * d_model + _BYTES_A_LOGIT["bfloat16" if low else "float32"] * architecture.vocab_size
    return micro * architecture.n_ctx * (kept + ends)


def position_bytes(architecture: Architecture) -> int:
    """Return the bytes of the sinusoids, which all layers share, in float32; no mask of the context is held."""
    return 4 * architecture.n_ctx * architecture.d_model if architecture.positions == "infused" else 0


def snapshot_bytes(architecture: Architecture) -> int:
    """Return the bytes of a snapshot: all weights in float32."""
    return 4 * n_parameters(architecture)


def resumable_bytes(fields: ModelFields, architecture: Architecture) -> int:
    """Return the bytes of a state that training resumes from: weights and moments in float32, Muon's being one."""
    by_muon = fields.n_parameters if fields.optimizer == "muon" else 0
    return 12 * n_parameters(architecture) - 4 * by_muon


def measuring_gb(architecture: Architecture) -> float:
    """Return what measuring needs on its one GPU, GB: a snapshot in float32, positions, and 4 GB to work in."""
    return (snapshot_bytes(architecture) + position_bytes(architecture)) / 1e9 + _RUNTIME_GB["gpu"] + 4


# --- parameters and operations ----------------------------------------------------------------------------------


def n_parameters(architecture: Architecture) -> int:
    """Return the number of all parameters: embedding, blocks, final LayerNorm, unembedding."""
    d_model, d_mlp = architecture.d_model, architecture.d_mlp
    width = architecture.n_heads * architecture.d_head
    block = 2 * d_model + 4 * d_model * width
    if architecture.attention_bias:
        block += 3 * width + d_model
    if architecture.smeared_keys:
        block += architecture.n_heads
    if d_mlp:
        block += 2 * d_model + 2 * d_model * d_mlp
        if architecture.mlp_bias:
            block += d_mlp + d_model
    learned = architecture.n_ctx * d_model if architecture.positions == "learned" else 0
    return 2 * architecture.vocab_size * d_model + learned + architecture.n_layers * block + 2 * d_model


def block_flops(architecture: Architecture, n_tokens: int) -> int:
    """Return the operations of all blocks' forward pass over one sequence.

    2 a weight and token, and 4 a query, key that it may see, and number of a head's width: scores, and mixed values.
    Of keys that causality or a local window hides none is counted.
    """
    d_model, width = architecture.d_model, architecture.n_heads * architecture.d_head
    weights = 4 * d_model * width + 2 * d_model * architecture.d_mlp
    n_local = architecture.n_local_heads
    window = min(architecture.local_window, n_tokens)
    dense_pairs = n_tokens * (n_tokens + 1) // 2
    local_pairs = window * (window + 1) // 2 + (n_tokens - window) * window
    pairs = (architecture.n_heads - n_local) * dense_pairs + n_local * local_pairs
    return architecture.n_layers * (2 * weights * n_tokens + 4 * architecture.d_head * pairs)


def unembedding_flops(architecture: Architecture, n_tokens: int) -> int:
    """Return the operations of the logits of so many tokens."""
    return 2 * architecture.d_model * architecture.vocab_size * n_tokens


def forward_flops(architecture: Architecture, n_tokens: int) -> int:
    """Return the operations of the forward pass over one sequence."""
    return block_flops(architecture, n_tokens) + unembedding_flops(architecture, n_tokens)


def training_flops(fields: ModelFields, architecture: Architecture) -> int:
    """Return the operations of the whole training: three forward passes a sequence, the backward pass being two."""
    n_sequences = fields.schedule.sequences_before(fields.n_steps)
    return 3 * n_sequences * forward_flops(architecture, architecture.n_ctx)


def training_seconds(
    fields: ModelFields, architecture: Architecture, site: Site, n_ranks: int, *, checkpointed: bool
) -> float:
    """Return how long training takes on so many ranks at the site's utilisation, snapshots not counted."""
    n_sequences = fields.schedule.sequences_before(fields.n_steps)
    return n_sequences * sequence_seconds(architecture, site, n_ranks, checkpointed=checkpointed)


def sequence_seconds(architecture: Architecture, site: Site, n_ranks: int, *, checkpointed: bool) -> float:
    """Return how long so many ranks together train on one sequence at the site's utilisation."""
    flops = 3 * forward_flops(architecture, architecture.n_ctx)
    if checkpointed:
        flops += block_flops(architecture, architecture.n_ctx)
    return flops / (n_ranks * site.rank_peak_flops * site.speed.training_utilisation)
