"""The engine for many ranks: DeepSpeed's ZeRO, a process a GPU (or, to try it, a process a few CPU cores)."""

import logging
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the field's name for it)
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from induction.errors import InductionError
from induction.models.transformer import Transformer
from induction.study.architecture import Architecture
from induction.study.schedule import Schedule
from induction.train.engine import Seen, StepResult, kept_in_state
from induction.train.optimizers import MOMENTS, Rates, optimizers, trained_by
from induction.train.ranks import Ranks


class ZeroEngine:
    """Trains over all ranks; float32 weights and moments, shared out among the ranks as the stage says.

    In bfloat16 the ranks compute with a copy of the weights in bfloat16; at stage 0, as the plain engine does, with
    float32 weights whose products are in bfloat16.

    Args:
        architecture: of the model.
        settings: the recipe's settings (`ModelFields`).
        ranks: those that train together; `join` made them.
        stage: of ZeRO (Rajbhandari et al. 2020): 0 shares out nothing, 1 the moments and float32 weights, 2 also the
            gradients, 3 also the weights that are computed with.
        micro_batch: sequences that a rank has in memory at once; None: its whole share of the batch.
        checkpoint_activations: keep each block's input alone and compute the rest again for the gradient.
        fresh: draw the initial weights; else a state is loaded next.

    Raises:
        InductionError: Muon at another stage than 0, or batches that the ranks cannot share.
    """

    def __init__(
        self,
        architecture: Architecture,
        settings: dict[str, Any],
        ranks: Ranks,
        stage: int,
        micro_batch: int | None = None,
        checkpoint_activations: bool = False,
        *,
        fresh: bool = True,
    ) -> None:
        if settings["optimizer"] == "muon" and stage > 0:
            raise InductionError(
                f"optimizer: muon trains at ZeRO stage 0 alone, not at stage {stage}: it needs whole matrices, and "
                "above stage 0 a rank holds pieces that know no rows. Choose stage 0 where the model fits, or adamw."
            )
        self._settings = settings
        self._ranks = ranks
        self._stage = stage
        self._device = torch.device(ranks.device)
        sizes = Schedule(settings).batch_sizes
        self._micro_batch = micro_batch or max(1, math.gcd(*sizes) // ranks.n_ranks)
        for size in sizes:
            shared_out(size, ranks.n_ranks, self._micro_batch)
        self._low = settings["dtype"] == "bfloat16"
        self._start(architecture, sizes[0])
        if checkpoint_activations:
            for block in self._model.blocks:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
        self._rates = Rates(self._optimizers.values())
        self._prepare_moments()
        if fresh:
            deviations = settings["init_deviation"], settings["embedding_deviation"]
            for name, drawn in self._model.initial_matrices(self.shapes(), settings["seed"], *deviations):
                self._set(name, "weights", drawn)

    def share(self, batch_size: int) -> NDArray[np.int64]:
        """Return which sequences of a batch this rank reads: a micro-batch of each round over the ranks."""
        return shared_out(batch_size, self._ranks.n_ranks, self._micro_batch)[:, self._ranks.rank].reshape(-1)

    def step(self, tokens_BT: Tensor, rate: float, weight_decay: float) -> StepResult:
        """Take one step on this rank's share; see `Engine`."""
        parts = tokens_BT.to(self._device).split(self._micro_batch)
        self._engine.set_train_batch_size(len(tokens_BT) * self._ranks.n_ranks)
        # DeepSpeed counts micro-batches over all steps: once the batch has grown, it might step in the middle of one.
        self._engine.micro_steps = 0
        self._rates.set(rate, weight_decay)
        losses = []
        for part_BT in parts:
            logits_BTV = self._engine(part_BT[:, :-1])
            loss = F.cross_entropy(logits_BTV.float().flatten(0, 1), part_BT[:, 1:].flatten())
            self._engine.backward(loss)
            self._engine.step()
            losses.append(loss.detach())
        norm = self._engine.get_global_grad_norm()
        return StepResult(self._ranks.mean(torch.stack(losses).mean().item()), float(norm))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the whole weights, by name."""
        return {name: tuple(getattr(weight, "ds_shape", weight.shape)) for name, weight in self._parameters.items()}

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the whole weights in the order of their names, float32; of a stage that shards, one at a time."""
        for name in sorted(self._parameters):
            yield name, self._get(name, "weights")

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what `state` yields, by name."""
        shapes = self.shapes()
        return {f"{what}.{name}": shapes[name] for what, name in self._kept()}

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield whole weights and moments in the order of their names, float32, one at a time."""
        for what, name in self._kept():
            yield f"{what}.{name}", self._get(name, what)

    def load_state(self, state: Mapping[str, Tensor], n_steps: int) -> None:
        """Go on from a state, whatever engine and number of ranks wrote it."""
        for what, name in self._kept():
            self._set(name, what, state[f"{what}.{name}"])
        for moments in self._optimizers["adamw"].state.values():
            moments["step"].fill_(float(n_steps))

    def look(self, at: Callable[[Transformer], Seen]) -> Seen:
        """Call a function with the model, gradients off; weights that are shared out come together as it runs."""
        with torch.no_grad():
            return at(self._model)

    # --- DeepSpeed --------------------------------------------------------------------------------------------------

    def _start(self, architecture: Architecture, batch_size: int) -> None:
        os.environ.setdefault("DS_ACCELERATOR", self._device.type)
        # On CPUs stage 3 asks how many there are at every gradient; without this, a process is started to find out.
        os.environ.setdefault("LOCAL_SIZE", str(self._ranks.n_ranks))
        import deepspeed  # noqa: PLC0415 (it takes seconds, and reads the variables above)

        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", "`torch.distributed", FutureWarning)
        # Ranks on a CPU speak through gloo; DeepSpeed's own way there wants a compiler, and all ranks on one machine.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        config: dict[str, Any] = {
            "train_batch_size": batch_size,
            "train_micro_batch_size_per_gpu": self._micro_batch,
            "gradient_clipping": self._settings["gradient_clip"] if self._stage else 0.0,
            "zero_optimization": {"stage": self._stage},
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 2**31,
        }
        sharded_copy = self._low and self._stage > 0
        if sharded_copy:
            config["bf16"] = {"enabled": True}
            config["data_types"] = {"grad_accum_dtype": "fp32"}
            config["communication_data_type"] = "fp32"  # else gradients are summed over the ranks in bfloat16
        dtype = torch.bfloat16 if sharded_copy else torch.float32
        # Where it is computed with, at once: in memory all ranks of a node would hold a copy each, in float32.
        with deepspeed.zero.Init(config_dict_or_path=config) if self._stage == 3 else _made(self._device, dtype):
            self._model = Transformer(architecture)
        self._model.to(self._device, dtype if sharded_copy else None)
        if self._low and not sharded_copy:
            # Inside of DeepSpeed's call: it turns an autocast off that is around it.
            autocast = torch.autocast(self._device.type, torch.bfloat16)
            self._model.forward = autocast(self._model.forward)  # type: ignore[method-assign]
        self._parameters = dict(self._model.named_parameters())
        self._optimizers = optimizers(self._parameters, self.shapes(), self._settings)
        clip = self._settings["gradient_clip"]
        optimizer = self._optimizers["adamw"] if self._stage else _Whole(self._optimizers.values(), clip)
        self._engine, *_ = deepspeed.initialize(
            model=self._model, optimizer=optimizer, config=config, dist_init_required=False
        )

    def _prepare_moments(self) -> None:
        """Let the moments be there before the first step, all zero, as an optimizer makes them at its first step.

        DeepSpeed links weights to their moments when the first of its groups has stepped, and those of the others are
        not there yet (0.19.8).
        """
        for kind, optimizer in self._optimizers.items():
            flat = [weight for group in optimizer.param_groups for weight in group["params"]]
            # What the optimizer steps on: above stage 0, this rank's pieces of many weights, laid end to end.
            for weight in self._engine.optimizer.fp32_partitioned_groups_flat if self._stage == 3 else flat:
                optimizer.state[weight] = {name: torch.zeros_like(weight) for name in MOMENTS[kind]}
                if kind == "adamw":
                    optimizer.state[weight]["step"] = torch.zeros(())
        if self._stage in (1, 2):
            self._engine.optimizer._lazy_init_hp_params_optimizer_state()

    def _kept(self) -> list[tuple[str, str]]:
        return kept_in_state(self.shapes(), self._settings)

    def _moments(self, name: str) -> dict[str, Tensor]:
        """Return the moments of a weight at stage 0."""
        return self._optimizers[trained_by(name, self.shapes()[name], self._settings)].state[self._parameters[name]]

    def _get(self, name: str, what: str) -> Tensor:
        """Return a whole weight or one of its moments, float32; every rank takes part."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state  # noqa: PLC0415

        weight: Any = self._parameters[name]
        if self._stage == 0:
            return weight if what == "weights" else self._moments(name)[what]
        if what == "weights":
            return safe_get_full_fp32_param(weight)
        return safe_get_full_optimizer_state(weight, what)

    @torch.no_grad()
    def _set(self, name: str, what: str, value: Tensor) -> None:
        """Set a whole weight or one of its moments; every rank does, and keeps its piece."""
        import deepspeed  # noqa: PLC0415

        weight: Any = self._parameters[name]
        value = value.to(self._device)
        if self._stage == 0:
            (weight if what == "weights" else self._moments(name)[what]).copy_(value)
            return
        key = None if what == "weights" else what
        if self._stage == 3:
            piece, _ = weight._z3_optimizer._get_fp32_opt_state_partition(weight, False, key)
            start = piece.numel() * self._ranks.rank
            own = value.flatten()[start : start + piece.numel()]
            piece[: own.numel()].copy_(own)
            if key is None:
                with deepspeed.zero.GatheredParameters([weight], modifier_rank=0):
                    weight.copy_(value)
            return
        weight.set_full_hp_param(value, key)
        if key is None:
            weight.copy_(value)


@contextmanager
def _made(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """While inside, tensors are made on a device, in a type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(before)


def shared_out(batch_size: int, n_ranks: int, micro_batch: int) -> NDArray[np.int64]:
    """Return which sequences of a batch each rank has in memory in each round, [round, rank, sequence].

    Raises:
        InductionError: the batch is no whole number of rounds.
    """
    at_once = micro_batch * n_ranks
    if batch_size % at_once:
        raise InductionError(
            f"batch_size: {batch_size} sequences cannot be shared out among {n_ranks} ranks in "
            f"micro-batches of {micro_batch}; a multiple of {at_once} can"
        )
    return np.arange(batch_size).reshape(-1, n_ranks, micro_batch)


class _Whole(torch.optim.Optimizer):
    """The optimizers of stage 0 as one, which clips as the plain engine does: DeepSpeed tells no norm there."""

    def __init__(self, optimizers: Iterable[torch.optim.Optimizer], greatest_norm: float) -> None:
        self._each = list(optimizers)
        self._greatest_norm = greatest_norm
        super().__init__([group for each in self._each for group in each.param_groups], {})
        self._global_grad_norm = 0.0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Clip the gradient and take a step with each."""
        weights = [weight for group in self.param_groups for weight in group["params"]]
        self._global_grad_norm = torch.nn.utils.clip_grad_norm_(weights, self._greatest_norm).item()
        for each in self._each:
            each.step(closure)
