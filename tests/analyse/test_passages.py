"""The tokens of passages: each with its own text, class and losses, from the snapshots that the window names."""

import numpy as np
import pytest
from planted import write_losses
from test_attributions import write_phases
from test_repetitions import mark_evaluation

from induction.analyse.passages import passages
from induction.errors import InductionError
from induction.tables.losses import LOSSES
from induction.tables.repetitions import PASSAGES

N_STEPS, N_EXAMPLES, N_TOKENS = 4, 5, 12
PASSAGES_P2 = np.array([[3, 2], [0, 9]])
SIZE = 4
TEXTS = [f"<{token}>" for token in range(100)]


def loss(step, example, index):
    """A number that tells where it comes from."""
    return step * 1000 + example * 100 + index


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model=hand"
    grid = np.meshgrid(np.arange(N_STEPS), np.arange(N_EXAMPLES), np.arange(1, N_TOKENS + 1), indexing="ij")
    tokens = np.zeros((N_EXAMPLES, N_TOKENS + 1), dtype=np.int32)
    tokens[:, 1:] = 1 + np.arange(N_EXAMPLES * N_TOKENS).reshape(N_EXAMPLES, N_TOKENS)
    return {
        "losses": write_losses(folder / "losses", range(N_STEPS), loss(*grid).astype(np.float32), blocks=4),
        "phases": write_phases(folder / "phases.parquet"),
        "tokens_ET": tokens,
        "classes_ET": (tokens[:, 1:] % 3).astype(np.uint8),
        "evaluation": "e",
        "texts": TEXTS,
        "passages_P2": PASSAGES_P2,
        "passage_tokens": SIZE,
        "out": folder / "passages.parquet",
    }


@pytest.mark.parametrize(("found", "before", "after"), [(True, 1, 2), (False, 0, 3)])
@pytest.mark.parametrize("order", [1, -1])
def test_each_token_has_its_own_text_class_and_losses(model, found, before, after, order):
    write_phases(model["phases"], found)
    passages(**{**model, "losses": model["losses"][::order]})
    rows = PASSAGES.read(model["out"]).drop("model").rows()
    expected = []
    for passage, (example, first) in enumerate(PASSAGES_P2.tolist()):
        for index in range(first, first + SIZE):
            token = example * N_TOKENS + index  # the first token of the first example is 1, and so on
            name = ("other", "continued", "broken")[token % 3]
            places = (loss(before, example, index), loss(after, example, index))
            expected.append((passage, example, index, f"<{token}>", name, *places, before, after))
    assert rows == expected


def test_rows_of_a_snapshot_may_come_in_any_order(model, tmp_path):
    passages(**model)
    order = [3, 0, 4, 2, 1]
    for part in model["losses"]:
        frame = LOSSES.read(part)[order]
        columns = {name: frame[name].to_numpy() for name in ("step", "tokens", "example", "loss")}
        LOSSES.write(part, columns)
    shuffled = tmp_path / "model=hand" / "shuffled.parquet"
    passages(**{**model, "out": shuffled})
    assert PASSAGES.read(shuffled).equals(PASSAGES.read(model["out"]))


def test_gaps_are_told(model):
    def refused(message, **changed):
        with pytest.raises(InductionError, match=message):
            passages(**{**model, **changed})
        assert not model["out"].exists()

    refused("5 examples of 11 tokens, and 5 examples of 12 tokens are classed", tokens_ET=model["tokens_ET"][:, :-1])
    refused("4 examples of 12 tokens, and 5 examples of 12", tokens_ET=model["tokens_ET"][:4])
    refused(
        "losses of 12 tokens an example, and 11 tokens an example are classed",
        tokens_ET=model["tokens_ET"][:, :-1],
        classes_ET=model["classes_ET"][:, :-1],
        passages_P2=PASSAGES_P2[:1],
    )
    refused("the losses have no snapshot at 2. Give all parts", losses=model["losses"][:2])
    refused("no snapshots to compare", losses=[])
    few = write_losses(model["out"].parent / "few", range(N_STEPS), np.ones((N_STEPS, 3, N_TOKENS)), blocks=1)
    refused(r"step 1 lacks the evaluation examples \[3\], from which passages are cut", losses=few)
    mark_evaluation(model["losses"], "stale")
    refused("losses on an evaluation set stale, and the classes are those of e")
