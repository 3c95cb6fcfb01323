"""Blocks of models made by hand, on disk as training writes them."""

from induction.files import sha256_file
from induction.models.snapshots import write_block as write_manifest
from induction.models.tensor_files import write_tensors


def write_block(folder, models):
    """Write snapshots, {step: model}, and the manifest that names them; return the manifest's path."""
    entries = []
    for step, model in models.items():
        file = f"snapshots/step-{step:08d}.safetensors"
        (folder / "snapshots").mkdir(parents=True, exist_ok=True)
        write_tensors(folder / file, model.state_dict(), {"identity": "made", "step": step})
        entries.append({"step": step, "tokens": 100 * step, "file": file, "sha256": sha256_file(folder / file)})
    architecture = next(iter(models.values())).architecture.model_dump(mode="json")
    manifest = folder / "block-0.json"
    write_manifest(manifest, architecture, recipe="none", identity="made", corpus="none", snapshots=entries, job="")
    return manifest
