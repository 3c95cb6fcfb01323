"""Files of tensors: the bytes of the safetensors library, written tensor by tensor, whole or not at all."""

import hashlib
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from induction.errors import InductionError
from induction.models.tensor_files import open_tensors, read_tensors, tensor_writer, write_tensors

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda n: n != "__metadata__")
SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)
ABOUT = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)


def drawn(shapes):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@given(shapes=st.dictionaries(NAMES, SHAPES, min_size=1, max_size=6), about=ABOUT)
def test_the_bytes_are_those_of_the_safetensors_library(shapes, about, tmp_path_factory):
    folder, tensors = tmp_path_factory.mktemp("bytes"), drawn(shapes)
    write_tensors(folder / "ours", tensors, about)
    save_file(tensors, folder / "theirs", metadata={"induction": json.dumps(about, sort_keys=True)})
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()
    read, told = read_tensors(folder / "ours", "file")
    assert told == about
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_large_tensors_are_written_in_pieces_that_join(tmp_path):
    tensor = torch.randn(3, 1_500_001)  # more than one piece, and no whole number of them
    write_tensors(tmp_path / "ours", {"w": tensor.T}, {})
    assert torch.equal(read_tensors(tmp_path / "ours", "file")[0]["w"], tensor.T), "a transposed one, as it is seen"


def test_the_writer_knows_the_hash_of_the_whole_file(tmp_path):
    tensors = drawn({"a": (3,), "b": (2, 2)})
    with tensor_writer(tmp_path / "file", {"b": (2, 2), "a": (3,)}, {"step": 7}) as writer:
        for name in ("a", "b"):
            writer.append(name, tensors[name].to(torch.float64).requires_grad_())
    assert writer.sha256 == hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()


def append(path, shapes):
    with tensor_writer(path, {"a": (3,), "b": (2, 2)}, {}) as writer:
        for name, shape in shapes:
            writer.append(name, torch.zeros(shape))


@pytest.mark.parametrize(
    ("given_tensors", "told"),
    [
        ([("b", (2, 2))], "b of shape .* is not the tensor that comes next"),
        ([("a", (2,))], "a of shape .* is not the tensor that comes next"),
        ([("a", (3,)), ("b", (2, 2)), ("c", (1,))], "c of shape .* is not the tensor that comes next"),
        ([("a", (3,))], "tensors are missing: b"),
    ],
    ids=["order", "shape", "one too many", "missing"],
)
def test_a_file_of_other_tensors_than_announced_is_not_written(given_tensors, told, tmp_path):
    write_tensors(tmp_path / "file", drawn({"old": (1,)}), {})
    before = (tmp_path / "file").read_bytes()
    with pytest.raises(ValueError, match=told):
        append(tmp_path / "file", given_tensors)
    assert (tmp_path / "file").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_is_not_whole_is_told(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(InductionError, match=r"file: this snapshot does not exist"), open_tensors(path, "snapshot"):
        pass
    write_tensors(path, drawn({"a": (30,)}), {})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InductionError, match=r"file: not a whole snapshot"), open_tensors(path, "snapshot"):
        pass
    save_file(drawn({"a": (3,)}), path)
    with pytest.raises(InductionError, match=r"file: not a whole snapshot"), open_tensors(path, "snapshot"):
        pass
