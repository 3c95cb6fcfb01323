"""Small sets of arrays with a description, as safetensors: written whole, read with a check."""

import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from induction.errors import InductionError
from induction.files import replacing
from induction.identity import job_identity

_ENTRY = "induction"


def write_tensors(path: Path, tensors: dict[str, NDArray[Any]], about: dict[str, Any]) -> None:
    """Write arrays and what they are about; the same ones give the same bytes."""
    # One metadata entry: safetensors writes several in an order that changes from run to run.
    content = save(tensors, metadata={_ENTRY: json.dumps({**about, "identity": job_identity()}, sort_keys=True)})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: Path, names: tuple[str, ...], what: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the arrays `names` and what they are about.

    Raises:
        InductionError: the file is missing, truncated or of another kind.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {})[_ENTRY])
            return {name: file.get_tensor(name) for name in names}, about
    except FileNotFoundError:
        raise InductionError(f"{path}: this {what} does not exist. Snakemake makes it: snakemake {path}") from None
    except (SafetensorError, KeyError, OSError, json.JSONDecodeError) as error:
        raise InductionError(
            f"{path}: not a whole {what} (truncated?): {error}. Make it again: snakemake --force {path}"
        ) from None
