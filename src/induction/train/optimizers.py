"""AdamW and Muon, and which weights each of them trains: the same for every engine."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

MOMENTS = {"adamw": ("exp_avg", "exp_avg_sq"), "muon": ("momentum_buffer",)}
"""What each optimizer remembers of a weight, in the shape of the weight."""
_DECAYS = "decays"
"""Of a parameter group: whether weight decay acts on it, be it 0 at first."""


def trained_by(name: str, shape: tuple[int, ...], settings: dict[str, Any]) -> str:
    """Return the optimizer of a weight: Muon, if it is asked for, takes the matrices of the blocks; AdamW all else."""
    return "muon" if settings["optimizer"] == "muon" and len(shape) == 2 and name.startswith("blocks.") else "adamw"


def optimizers(
    weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], settings: dict[str, Any]
) -> dict[str, torch.optim.Optimizer]:
    """Return the optimizers by name, at their peak learning rates.

    Weight decay acts on matrices alone, as is usual; vectors (gains, biases, smearing) have none.

    Args:
        weights: by name.
        shapes: of the whole weights, by name.
        settings: the recipe's settings: optimizer, rates, betas, weight decay.
    """
    by_muon: list[Tensor] = []
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for name, weight in weights.items():
        muon = trained_by(name, shapes[name], settings) == "muon"
        (by_muon if muon else decayed if len(shapes[name]) == 2 else plain).append(weight)
    decay = settings["weight_decay"]
    chosen: dict[str, torch.optim.Optimizer] = {
        "adamw": torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": decay, _DECAYS: True},
                {"params": plain, "weight_decay": 0.0, _DECAYS: False},
            ],
            lr=settings["learning_rate"],
            betas=(settings["beta1"], settings["beta2"]),
        )
    }
    if by_muon:
        groups = [{"params": by_muon, _DECAYS: True}]
        chosen["muon"] = torch.optim.Muon(groups, lr=settings["muon_learning_rate"], weight_decay=decay)
    return chosen


class Rates:
    """The learning rates and weight decays of the parameter groups that `optimizers` made, set anew for each step."""

    def __init__(self, each: Iterable[torch.optim.Optimizer]) -> None:
        groups = [group for optimizer in each for group in optimizer.param_groups]
        self._peaks = [(group, group["lr"], group[_DECAYS]) for group in groups]

    def set(self, rate: float, weight_decay: float) -> None:
        """Set the learning rates to the share `rate` of their peaks, and the weight decay of the groups that decay."""
        for group, peak, decays in self._peaks:
            group["lr"] = peak * rate
            if decays:
                group["weight_decay"] = weight_decay
