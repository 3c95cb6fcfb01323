"""The plain engine: torch alone, on one CPU or GPU."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the field's name for it)
from numpy.typing import NDArray
from torch import Tensor

from induction.models.transformer import Transformer
from induction.study.architecture import Architecture
from induction.train.engine import Seen, StepResult, kept_in_state
from induction.train.optimizers import Rates, optimizers, trained_by


class PlainEngine:
    """Trains in one process; float32 weights, products in `dtype`.

    Args:
        architecture: of the model.
        settings: the recipe's settings (`ModelFields`): seed, optimizer, rates, betas, clipping, dtype.
        device: cpu or cuda.
        micro_batch: sequences that are in memory at once; None: the whole batch.
    """

    def __init__(
        self, architecture: Architecture, settings: dict[str, Any], device: str, micro_batch: int | None = None
    ) -> None:
        self._model = Transformer(architecture)
        self._model.initialise(settings["seed"], settings["init_deviation"], settings["embedding_deviation"])
        self._model.to(device)
        self._settings = settings
        self._device = torch.device(device)
        self._micro_batch = micro_batch
        self._parameters = dict(self._model.named_parameters())
        self._optimizers = optimizers(self._parameters, self.shapes(), settings)
        self._rates = Rates(self._optimizers.values())

    def share(self, batch_size: int) -> NDArray[np.int64]:
        """Return all sequences of a batch, [sequence]."""
        return np.arange(batch_size)

    def step(self, tokens_BT: Tensor, rate: float, weight_decay: float) -> StepResult:
        """Take one step; see `Engine`."""
        low = self._settings["dtype"] == "bfloat16"
        parts = tokens_BT.to(self._device).split(self._micro_batch or len(tokens_BT))
        mean_loss = 0.0
        for part_BT in parts:
            with torch.autocast(self._device.type, torch.bfloat16, enabled=low):
                logits_BTV = self._model(part_BT[:, :-1])
            loss = F.cross_entropy(logits_BTV.float().flatten(0, 1), part_BT[:, 1:].flatten())
            share = len(part_BT) / len(tokens_BT)
            (loss * share).backward()
            mean_loss += loss.item() * share
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._settings["gradient_clip"])
        self._rates.set(rate, weight_decay)
        for optimizer in self._optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        return StepResult(mean_loss, norm.item())

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights, by name."""
        return {name: tuple(weight.shape) for name, weight in self._parameters.items()}

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights in the order of their names, float32."""
        yield from sorted(self._parameters.items())

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what `state` yields, by name."""
        return {f"{what}.{name}": tuple(self._parameters[name].shape) for what, name in self._kept()}

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield weights and moments in the order of their names, float32."""
        for what, name in self._kept():
            weight = self._parameters[name]
            kept = weight if what == "weights" else self._optimizer(name).state[weight].get(what)
            yield f"{what}.{name}", torch.zeros_like(weight) if kept is None else kept

    def load_state(self, state: Mapping[str, Tensor], n_steps: int) -> None:
        """Go on from a state."""
        for what, name in self._kept():
            weight, value = self._parameters[name], state[f"{what}.{name}"].to(self._device)
            if what == "weights":
                weight.data.copy_(value)
                continue
            kept = self._optimizer(name).state[weight]
            kept[what] = value
            if what != "momentum_buffer":
                kept["step"] = torch.tensor(float(n_steps))

    def look(self, at: Callable[[Transformer], Seen]) -> Seen:
        """Call a function with the model, gradients off."""
        with torch.no_grad():
            return at(self._model)

    def _kept(self) -> list[tuple[str, str]]:
        return kept_in_state(self.shapes(), self._settings)

    def _optimizer(self, name: str) -> torch.optim.Optimizer:
        return self._optimizers[trained_by(name, tuple(self._parameters[name].shape), self._settings)]
