"""Before-and-after vectors against algebra done by hand."""

import numpy as np
import pytest
from planted import TOKENS_A_STEP, write_ablations, write_evaluation, write_losses

from induction.analyse.attributions import attributions, before_after
from induction.errors import InductionError
from induction.resampling import resample_weights
from induction.study.analysis import Bootstrap
from induction.tables.attributions import ATTRIBUTIONS
from induction.tables.phases import PHASES

BOOTSTRAP = Bootstrap(n_resamples=400)
RANDOM_INDEX = [2, 1, 2, 1]


def write_phases(path, found=True):
    columns = {column.name: None for column in PHASES.columns}
    columns |= {"start_step": 1 if found else None, "end_step": 2 if found else None}
    PHASES.write(path, columns | {"signal": "icl", "found": found, "support": 1.0, "reason": "planted"})
    return path


@pytest.fixture
def model(tmp_path):
    """Random-index losses (5, 5, 5, 5), (5, 5, 5, 5), (2, 1, 9, 9): on the first two examples, a change of (-3, -4)."""
    folder = tmp_path / "model=hand"
    at_random = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [2, 1, 9, 9]], dtype=np.float32)
    values = np.full((3, 4, 2), 7, dtype=np.float32)
    for example, index in enumerate(RANDOM_INDEX):
        values[:, example, index - 1] = at_random[:, example]
    ablated = np.array([[5, 5], [2, 1], [6, 1], [1.4, 0.2]])
    return {
        "losses": write_losses(folder / "losses", range(3), values, blocks=2),
        "ablations": [write_ablations(folder / "ablations.parquet", 2, np.array([2, 1]), ablated)],
        "phases": write_phases(folder / "phases.parquet"),
        "evaluation": write_evaluation(folder / "evaluation.safetensors", RANDOM_INDEX),
        "bootstrap": BOOTSTRAP,
        "out": folder / "attributions.parquet",
    }


def test_before_and_after_equals_algebra(model):
    attributions(**model)
    table = ATTRIBUTIONS.read(model["out"])
    # u = (-3, -4)/5. Changes: (3, 4), (0, 0), (4, 0), (-0.6, -0.8).
    assert table["before_after"].to_list() == pytest.approx([-5, 0, -12 / 5, 1], abs=1e-6)
    assert table["fraction_undone"].to_list() == pytest.approx([1, 0, 12 / 25, -0.2], abs=1e-6)
    assert table["head"].to_list() == [0, 1, 2, 3]
    assert set(table["tokens"]) == {2 * TOKENS_A_STEP}
    assert table["fraction_undone_se"].to_list()[:2] == pytest.approx(
        [0, 0], abs=1e-6
    )  # the same share on every example


def test_resamples_are_those_of_a_loop_over_drawn_examples():
    random = np.random.default_rng(0)
    change, window = random.normal(size=(3, 30)), random.normal(size=30)
    projected, fraction = before_after(change, window, resample_weights(30, Bootstrap(n_resamples=20, seed=5)))
    again = np.random.default_rng(5)
    for resample in range(20):
        drawn = again.integers(30, size=30)
        u = window[drawn] / np.linalg.norm(window[drawn])
        np.testing.assert_allclose(projected[resample], change[:, drawn] @ u)
        np.testing.assert_allclose(fraction[resample], -change[:, drawn] @ u / np.linalg.norm(window[drawn]))


def test_the_standard_error_is_the_spread_over_fresh_examples():
    def sample(seed, n=300):
        random = np.random.default_rng(seed)
        window = random.normal(-0.3, 2, size=n)
        return -0.5 * window[None] + random.normal(size=(1, n)), window

    equal = np.full((1, 300), 1 / 300)
    fresh = [before_after(*sample(seed), equal)[1].item() for seed in range(300)]
    bootstrapped = before_after(*sample(1000), resample_weights(300, BOOTSTRAP))[1].std()
    assert np.mean(fresh) == pytest.approx(0.5, abs=0.01)
    assert bootstrapped == pytest.approx(np.std(fresh), rel=0.2)


def test_a_model_without_a_window_has_no_attributions(model):
    write_phases(model["phases"], found=False)
    attributions(**model)
    assert ATTRIBUTIONS.read(model["out"]).is_empty()


def test_gaps_are_told(model):
    for missing, message in ((model["losses"][:1], "no snapshot at step 2"), ([], "no parts to read")):
        with pytest.raises(InductionError, match=message):
            attributions(**{**model, "losses": missing})
    assert not model["out"].exists()
