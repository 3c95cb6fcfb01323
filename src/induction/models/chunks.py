"""How much is computed at once: what a CPU's caches hold, or enough to keep a GPU busy."""

import torch

_GPU_FACTOR = 16
"""Chosen by the sizes of caches and memories (some MB against tens of GB), not yet measured on a GPU."""


def at_once(on_a_cpu: int, device: torch.device) -> int:
    """Return how many rows, tokens or bytes to compute at once on a device, from the number that suits a CPU."""
    return on_a_cpu if device.type == "cpu" else _GPU_FACTOR * on_a_cpu
