"""Settings of a CPU process that cost nothing in precision: each is measured in `workflow/decisions/`."""

import ctypes
import sys
from typing import Any, cast

import torch

_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
_KEPT_BYTES = 1 << 30


def prepare_cpu() -> None:
    """Let this process keep freed memory and multiply float32 matrices by the faster library, where it is as exact."""
    _keep_freed_memory()
    _use_exact_onednn()


def _keep_freed_memory() -> None:
    """Ask the C library (glibc alone knows the call) not to give large buffers back after each operation.

    Otherwise every activation over 128 kB is mapped anew, and the page faults cost more than the arithmetic.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _use_exact_onednn() -> None:
    """Let oneDNN multiply float32 matrices if a product shows that it keeps float32's precision on this CPU.

    torch hands float32 products to oneDNN only where it may use bfloat16 inside. With AMX it does, an error a
    thousand times float32's; on other CPUs it computes in float32, at twice MKL's speed on AMD. GPUs are left alone.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    before = (a @ b - exact).abs().max()
    products = cast("Any", torch.backends.mkldnn).matmul
    products.fp32_precision = "bf16"
    if (a @ b - exact).abs().max() > 2 * before:
        products.fp32_precision = "ieee"
