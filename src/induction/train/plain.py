"""The plain engine: torch alone, on one CPU or GPU."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the field's name for it)
from torch import Tensor

from induction.models.transformer import Transformer
from induction.study.architecture import Architecture
from induction.train.engine import StepResult


class PlainEngine:
    """Trains in one process; float32 weights, products in `dtype`.

    Args:
        architecture: of the model.
        settings: the recipe's settings (`ModelFields`): seed, optimizer, rates, betas, clipping, dtype.
        device: cpu or cuda.
    """

    def __init__(self, architecture: Architecture, settings: dict[str, Any], device: str) -> None:
        self._model = Transformer(architecture)
        self._model.initialise(settings["seed"], settings["init_deviation"], settings["embedding_deviation"])
        self._model.to(device)
        self._settings = settings
        self._device = torch.device(device)
        self._optimizers = _optimizers(self._model, settings)
        self._peak_rates = {
            name: [group["lr"] for group in optimizer.param_groups] for name, optimizer in self._optimizers.items()
        }

    def step(self, tokens_BT: Tensor, rate: float) -> StepResult:
        """Take one step; see `Engine`."""
        tokens_BT = tokens_BT.to(self._device)
        low = self._settings["dtype"] == "bfloat16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=low):
            logits_BTV = self._model(tokens_BT[:, :-1])
        loss = F.cross_entropy(logits_BTV.float().flatten(0, 1), tokens_BT[:, 1:].flatten())
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._settings["gradient_clip"])
        for name, optimizer in self._optimizers.items():
            for group, peak in zip(optimizer.param_groups, self._peak_rates[name], strict=True):
                group["lr"] = peak * rate
            optimizer.step()
            optimizer.zero_grad()
        return StepResult(loss.item(), norm.item())

    def weights(self) -> dict[str, Tensor]:
        """Return the whole weights, float32, by name."""
        return dict(self._model.named_parameters())

    def state(self) -> dict[str, Tensor]:
        """Return weights and moments, by name."""
        tensors = {f"weights.{name}": weight for name, weight in self.weights().items()}
        for name, optimizer in self._optimizers.items():
            for index, moments in optimizer.state_dict()["state"].items():
                tensors.update({f"{name}.{index}.{moment}": value for moment, value in moments.items()})
        return tensors

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from a state."""
        for name, optimizer in self._optimizers.items():
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in state.items():
                owner, _, rest = key.partition(".")
                if owner == name:
                    index, _, moment = rest.partition(".")
                    moments.setdefault(int(index), {})[moment] = value
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        weights = {key.removeprefix("weights."): value for key, value in state.items() if key.startswith("weights.")}
        self._model.load_state_dict(weights)


def _optimizers(model: Transformer, settings: dict[str, Any]) -> dict[str, torch.optim.Optimizer]:
    """Return the optimizers: Muon, if asked for, takes the blocks' matrices; AdamW all else.

    Weight decay acts on matrices alone, as is usual; vectors (gains, biases, smearing) have none.
    """
    muon = settings["optimizer"] == "muon"
    by_muon: list[Tensor] = []
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for name, weight in model.named_parameters():
        matrix = weight.ndim == 2
        (by_muon if muon and matrix and name.startswith("blocks.") else decayed if matrix else plain).append(weight)
    decay = settings["weight_decay"]
    optimizers: dict[str, torch.optim.Optimizer] = {
        "adamw": torch.optim.AdamW(
            [{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}],
            lr=settings["learning_rate"],
            betas=(settings["beta1"], settings["beta2"]),
        )
    }
    if by_muon:
        optimizers["muon"] = torch.optim.Muon(by_muon, lr=settings["muon_learning_rate"], weight_decay=decay)
    return optimizers
