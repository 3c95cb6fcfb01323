"""Small sets of arrays with a description, as safetensors: written whole, read with a check of all that they hold."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from induction.errors import InductionError
from induction.files import SEAL, cannot_read, replacing, sealed
from induction.identity import job_identity

_ENTRY = "induction"
_ARRAYS = "arrays"


def write_tensors(path: Path, tensors: dict[str, NDArray[Any]], about: dict[str, Any]) -> None:
    """Write arrays, what they are about and a hash of both; the same ones give the same bytes."""
    described = sealed({**about, "identity": job_identity(), _ARRAYS: _described(tensors)})
    # One metadata entry: safetensors writes several in an order that changes from run to run.
    content = save(tensors, metadata={_ENTRY: json.dumps(described, sort_keys=True)})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: Path, names: tuple[str, ...], what: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the arrays `names`, all that the file holds, and what they are about.

    Raises:
        InductionError: the file is missing, truncated, of another kind, or has changed since it was written.
    """
    again = f"Make it again: snakemake --force {path}"
    try:
        path.open("rb").close()  # the library reports a file that it may not read as one that does not exist
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {})[_ENTRY])
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise InductionError(f"{path}: this {what} does not exist. Snakemake makes it: snakemake {path}") from None
    except OSError as error:
        if error.filename is not None:  # else the library's own
            raise cannot_read(path, what, error) from error
        raise InductionError(f"{path}: not a whole {what} (truncated?): {error}. {again}") from None
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise InductionError(f"{path}: not a whole {what} (truncated?): {error}. {again}") from None
    if not isinstance(about, dict) or SEAL not in about:
        raise InductionError(f"{path}: this {what} has no hash: an earlier version of this program made it. {again}")
    content = {name: value for name, value in about.items() if name != SEAL}
    if sealed(content) != about or content.pop(_ARRAYS, None) != _described(tensors):
        raise InductionError(f"{path}: this {what} has changed since it was written. {again}")
    return tensors, content


def _described(tensors: Mapping[str, NDArray[Any]]) -> dict[str, list[Any]]:
    """Return type, shape and hash of each array."""
    return {
        name: [array.dtype.str, list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        for name, array in tensors.items()
    }
