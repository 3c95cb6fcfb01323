"""On a full disk nothing half-written is ever taken for whole. A small tmpfs is the disk, so these need root."""

import os
import subprocess

import numpy as np
import pytest
import torch

from induction.errors import InductionError
from induction.files import replacing, write_json
from induction.models.tensor_files import write_tensors
from induction.tables.losses import LOSSES

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root (tests/SKIPS.md)")


@pytest.fixture
def small_disk(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def table(path):
    values = np.random.default_rng(0).gamma(2.0, size=(1000, 500))
    LOSSES.write(path, {"step": 0, "tokens": 0, "example": np.arange(1000), "loss": values})


def tensors(path):
    write_tensors(path, {"weights": torch.randn(500, 500)}, {})


def json_file(path):
    write_json(path, ["x" * 1000] * 1000)


def array(path):
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.zeros(100_000))


def test_what_a_killed_writer_left_is_cleared(tmp_path):
    left = tmp_path / ".file.4194304.partial"
    left.write_text("half")
    write_json(tmp_path / "file", [1])
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("write", [table, tensors, json_file, array])
def test_a_full_disk_is_told_and_nothing_is_left(write, small_disk):
    path = small_disk / "model=a" / "file"
    path.parent.mkdir()
    path.write_text("what was there before")
    with pytest.raises(InductionError, match=r"model=a/file: the disk is full; nothing was kept of this file"):
        write(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    assert path.read_text() == "what was there before"
