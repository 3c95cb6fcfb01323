"""How much is computed at once: what a CPU's caches hold, or enough to keep a GPU busy."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_FACTORS = {"cpu": 1, "cuda": 16}
"""By type of device. That of GPUs follows from the sizes of caches and memories (some MB against tens of GB);
`tests/gpu/check.sh` measures which is the fastest on a card."""


def at_once(on_a_cpu: int, device: torch.device) -> int:
    """Return how many rows, tokens or bytes to compute at once on a device, from the number that suits a CPU."""
    return _FACTORS.get(device.type, _FACTORS["cuda"]) * on_a_cpu


@contextmanager
def chunk_factor(factor: int, device: torch.device) -> Iterator[None]:
    """While inside, compute so many times as much at once on a device as on a CPU: to measure which factor is best."""
    before = _FACTORS.get(device.type)
    _FACTORS[device.type] = factor
    try:
        yield
    finally:
        if before is None:
            del _FACTORS[device.type]
        else:
            _FACTORS[device.type] = before
