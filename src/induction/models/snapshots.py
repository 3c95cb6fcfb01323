"""Snapshots on disk: weights in safetensors, and the manifest that names those of a block."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from induction.errors import InductionError
from induction.files import read_json, sha256_file
from induction.models.tensor_files import read_tensors
from induction.models.transformer import Transformer
from induction.study.architecture import Architecture
from induction.study.reading import validate


@dataclass(frozen=True)
class Snapshot:
    """A model as it was after `step` steps and `tokens` training tokens."""

    model: Transformer
    step: int
    tokens: int


def open_snapshots(manifest: Path, steps: Iterable[int] | None = None, device: str = "cpu") -> Iterator[Snapshot]:
    """Yield the snapshots of a block, each checked against its hash.

    Args:
        manifest: the block's `block-….json`.
        steps: only these; default: all.
        device: where the weights go.

    Raises:
        InductionError: a snapshot is missing or is not the one that the manifest names.
    """
    block = read_json(manifest, "block manifest")
    architecture = validate(block["architecture"], Architecture, f"{manifest}: architecture")
    wanted = None if steps is None else set(steps)
    if missing := (wanted or set()) - {entry["step"] for entry in block["snapshots"]}:
        raise InductionError(
            f"{manifest}: names no snapshot of step {', '.join(map(str, sorted(missing)))}. "
            f"Have the block made again: snakemake --forcerun train -- {manifest}"
        )
    for entry in block["snapshots"]:
        if wanted is None or entry["step"] in wanted:
            path = manifest.parent / entry["file"]
            # Without a name here, nor may the caller keep one while it asks for more: two of 13B do not fit on a GPU.
            yield Snapshot(
                read_snapshot(path, entry["sha256"], architecture, manifest, device), entry["step"], entry["tokens"]
            )


def read_snapshot(path: Path, sha256: str, architecture: Architecture, manifest: Path, device: str) -> Transformer:
    """Return the model of one snapshot file; see `open_snapshots`."""
    again = f"Have its block made again: snakemake --forcerun train -- {manifest}"
    if not path.is_file():
        raise InductionError(f"{path}: this snapshot, named by {manifest}, is missing. {again}")
    if sha256_file(path) != sha256:
        raise InductionError(f"{path}: this snapshot has changed since {manifest} was written. {again}")
    weights, _ = read_tensors(path, "snapshot", device)
    with torch.device("meta"):  # no memory of its own: the weights that were read become the model's
        model = Transformer(architecture)
    expected = model.state_dict()
    wrong = sorted(
        name
        for name in expected.keys() | weights.keys()
        if name not in weights or name not in expected or weights[name].shape != expected[name].shape
    )
    if wrong:
        raise InductionError(f"{path}: weights do not fit the architecture of {manifest}: {', '.join(wrong)}. {again}")
    model.load_state_dict(weights, assign=True)
    return model.eval().requires_grad_(False)
