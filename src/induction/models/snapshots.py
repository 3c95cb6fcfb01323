"""Snapshots on disk: weights in safetensors, and the manifest that names those of a block."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from pydantic import NonNegativeInt

from induction.errors import InductionError
from induction.files import SEAL, cannot_read, check_seal, read_json, sealed, sha256_file, write_json
from induction.models.tensor_files import read_tensors
from induction.models.transformer import Transformer
from induction.study.architecture import Architecture
from induction.study.reading import validate
from induction.study.strict import Strict

_UNSEALED = ("architecture", "recipe", "identity", "corpus", "snapshots")
"""All that manifests say that earlier versions wrote: no hash, and no model."""


@dataclass(frozen=True)
class Snapshot:
    """A model as it was after `step` steps and `tokens` training tokens."""

    model: Transformer
    step: int
    tokens: int


class Entry(Strict):
    """What a block's manifest says of a snapshot: its file, from the manifest's folder, and the file's hash."""

    step: NonNegativeInt
    tokens: NonNegativeInt
    file: str
    sha256: str


class BlockManifest(Strict):
    """What a block of training made.

    `recipe`: fingerprint of the block's recipe; `identity`: of all that its weights depend on; `corpus`: of its corpus;
    `job`: of the job that made it; `model`: the name of its folder, or None in what earlier versions wrote.
    """

    architecture: Architecture
    recipe: str
    identity: str
    corpus: str
    snapshots: tuple[Entry, ...]
    model: str | None = None
    job: str = ""


def write_block(
    manifest: Path,
    architecture: dict[str, Any],
    *,
    recipe: str,
    identity: str,
    job: str,
    corpus: str,
    snapshots: Sequence[dict[str, Any]],
) -> None:
    """Write the manifest of a block, last of all its files; see `BlockManifest`."""
    content = {
        "model": _model_of(manifest),
        "architecture": architecture,
        "recipe": recipe,
        "identity": identity,
        "job": job,
        "corpus": corpus,
        "snapshots": list(snapshots),
    }
    write_json(manifest, sealed(content))


def read_block(manifest: Path) -> BlockManifest:
    """Read the manifest of a block.

    Raises:
        InductionError: it is missing, has changed since it was written, or is that of another model.
    """
    content = read_json(manifest, "block manifest")
    again = f"Have the block made again: snakemake --forcerun train -- {manifest}"
    if not isinstance(content, dict):
        raise InductionError(f"{manifest}: not the manifest of a block. {again}")
    check_seal(manifest, content, "block manifest", _UNSEALED, again)
    block = validate({name: value for name, value in content.items() if name != SEAL}, BlockManifest, str(manifest))
    if block.model is not None and block.model != _model_of(manifest):
        raise InductionError(
            f"{manifest}: this is the manifest of model {block.model}, and its folder is called "
            f"{_model_of(manifest)}. Name the folder {block.model} again; if it holds the files of two models: {again}"
        )
    if not block.snapshots or any(later.step <= earlier.step for earlier, later in pairwise(block.snapshots)):
        raise InductionError(f"{manifest}: the steps of its snapshots are not ascending. {again}")
    return block


def _model_of(manifest: Path) -> str:
    return manifest.absolute().parent.name


def open_snapshots(manifest: Path, steps: Iterable[int] | None = None, device: str = "cpu") -> Iterator[Snapshot]:
    """Yield the snapshots of a block, each checked against its hash.

    Args:
        manifest: the block's `block-….json`.
        steps: only these; default: all.
        device: where the weights go.

    Raises:
        InductionError: a snapshot is missing or is not the one that the manifest names.
    """
    block = read_block(manifest)
    wanted = None if steps is None else set(steps)
    if missing := (wanted or set()) - {entry.step for entry in block.snapshots}:
        raise InductionError(
            f"{manifest}: names no snapshot of step {', '.join(map(str, sorted(missing)))}. "
            f"Have the block made again: snakemake --forcerun train -- {manifest}"
        )
    for entry in block.snapshots:
        if wanted is None or entry.step in wanted:
            # Without a name here, nor may the caller keep one while it asks for more: two of 13B do not fit on a GPU.
            yield Snapshot(read_snapshot(block, entry, manifest, device), entry.step, entry.tokens)


def read_snapshot(block: BlockManifest, entry: Entry, manifest: Path, device: str) -> Transformer:
    """Return the model of one snapshot file; see `open_snapshots`."""
    path = manifest.parent / entry.file
    again = f"Have its block made again: snakemake --forcerun train -- {manifest}"
    try:
        sha256 = sha256_file(path)
    except FileNotFoundError:
        raise InductionError(f"{path}: this snapshot, named by {manifest}, is missing. {again}") from None
    except OSError as error:
        raise cannot_read(path, "snapshot", error) from error
    if sha256 != entry.sha256:
        raise InductionError(f"{path}: this snapshot has changed since {manifest} was written. {again}")
    weights, about = read_tensors(path, "snapshot", device)
    if (about.get("identity"), about.get("step")) != (block.identity, entry.step):
        raise InductionError(
            f"{path}: holds step {about.get('step')} of training {about.get('identity')}, and {manifest} names it as "
            f"step {entry.step} of training {block.identity}. {again}"
        )
    with torch.device("meta"):  # no memory of its own: the weights that were read become the model's
        model = Transformer(block.architecture)
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
