"""The settings of a CPU process leave float32 as exact as it was."""

import subprocess
import sys

import pytest

CODE = """
import torch
from induction.models.cpu import prepare_cpu

def error():
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(3, 300, 300, generator=generator) for _ in range(2))
    return max(float((x @ y - x.double() @ y.double()).abs().max()) for x, y in ((a, b), (a[0], b[0])))

before = error()
prepare_cpu()
print(before, error(), torch.backends.cuda.matmul.fp32_precision)
"""


@pytest.fixture(scope="module")
def errors():
    said = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    return said.stdout.split()


def test_products_stay_as_exact(errors):
    before, after = float(errors[0]), float(errors[1])
    assert after <= 2 * before < 1e-3, "float32's error on 300 terms; bfloat16's would be near 0.3"


def test_gpus_are_left_alone(errors):
    assert errors[2] == "none"
