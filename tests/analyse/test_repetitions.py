"""Losses by class of token: ratios of sums against loops, planted changes recovered, gaps told."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import TOKENS_A_STEP, write_losses
from test_attributions import write_phases

from induction.analyse.repetitions import class_losses, mean_by_class, repetitions
from induction.errors import InductionError
from induction.resampling import resample_weights
from induction.study.analysis import Bootstrap
from induction.tables.repetitions import CLASSES, REPETITIONS

BOOTSTRAP = Bootstrap(n_resamples=200)
CLASS_OF_NAME = {"other": 0, "continued": 1, "broken": 2}


def drawn(seed, n_examples=12, n_tokens=9, n_steps=4):
    """Losses [snapshot, example, token] and classes drawn at random; some examples lack some classes."""
    random = np.random.default_rng(seed)
    classes = random.choice(3, p=[0.6, 0.3, 0.1], size=(n_examples, n_tokens)).astype(np.uint8)
    return random.uniform(0, 6, size=(n_steps, n_examples, n_tokens)).astype(np.float32), classes


def run(folder, values, classes, found=True, blocks=2, bootstrap=BOOTSTRAP):
    """Write the table of one model whose window, if it has one, is steps 1 to 2; return its rows by step and class."""
    out = folder / "model=hand" / "part.parquet"
    parts = write_losses(folder / "losses" / "model=hand", range(len(values)), values, blocks)
    phases = write_phases(folder / "phases" / "model=hand" / "part.parquet", found)
    repetitions(parts, phases, classes, "e", bootstrap, out)
    return {(row["step"], row["class"]): row for row in REPETITIONS.read(out).iter_rows(named=True)}


def mark_evaluation(parts, evaluation):
    """Say in the footers of parts on which evaluation set they were measured."""
    for part in parts:
        table = pq.read_table(part, partitioning=None)
        told = {**table.schema.metadata, b"induction.evaluation": evaluation.encode()}
        pq.write_table(table.replace_schema_metadata(told), part)


def test_means_are_those_of_a_loop_over_tokens(tmp_path):
    values, classes = drawn(0)
    rows = run(tmp_path, values, classes)
    assert len(rows) == 4 * 3
    for (step, name), row in rows.items():
        found = [
            float(values[step, example, token])
            for example in range(12)
            for token in range(9)
            if classes[example, token] == CLASS_OF_NAME[name]
        ]
        assert row["n_tokens"] == len(found)
        assert row["tokens"] == step * TOKENS_A_STEP
        assert row["loss"] == pytest.approx(np.mean(found), abs=1e-6)
        assert row["change"] == pytest.approx(row["loss"] - rows[1, name]["loss"], abs=1e-9)
    assert {row["change_high"] - row["change_low"] for (step, _), row in rows.items() if step == 1} == {0}


@pytest.mark.parametrize("blocks", [1, 3, 4])
def test_the_cut_of_the_parts_changes_nothing(tmp_path, blocks):
    values, classes = drawn(1)
    assert run(tmp_path / "a", values, classes) == run(tmp_path / "b", values, classes, blocks=blocks)


@given(st.integers(0, 10_000), st.integers(2, 9))
def test_resamples_are_those_of_a_loop_over_drawn_examples(seed, n_examples):
    values, classes = drawn(seed, n_examples, 5, 2)
    member = np.stack([classes == place for place in range(3)])
    summed = np.stack([(values * member[place]).sum(axis=2, dtype=float) for place in range(3)], axis=1)
    weights = resample_weights(n_examples, Bootstrap(n_resamples=20, seed=seed))
    means = mean_by_class(summed, member.sum(axis=2), weights)
    assert means.shape == (20, 2, 3)
    again = np.random.default_rng(seed)
    for resample in range(20):
        chosen = again.integers(n_examples, size=n_examples)
        for place in range(3):
            inside = member[place][chosen]
            if not inside.any():
                assert np.isnan(means[resample, :, place]).all()
                continue
            for step in range(2):
                expected = values[step][chosen][inside].astype(float).mean()
                assert means[resample, step, place] == pytest.approx(expected, abs=1e-6)


def test_a_planted_change_is_recovered_and_its_interval_is_paired(tmp_path):
    random = np.random.default_rng(2)
    classes = random.integers(0, 3, size=(60, 20)).astype(np.uint8)
    before = 4 + random.standard_exponential((60, 1)) + np.zeros((60, 20))  # examples differ in difficulty by 1 nat
    planted = np.array([-0.1, -1.5, 0.3])  # other, continued, broken
    values = np.stack([before + 1, before, before + planted[classes]]).astype(np.float32)
    rows = run(tmp_path, values, classes)
    for name, change in zip(("other", "continued", "broken"), planted, strict=True):
        row = rows[2, name]
        assert [row["change"], row["change_low"], row["change_high"]] == pytest.approx([change] * 3, abs=1e-5)
        assert row["loss_high"] - row["loss_low"] > 0.2, "unpaired, the examples' difficulty shows"
        assert rows[0, name]["change"] == pytest.approx(1, abs=1e-5)


def test_the_interval_is_as_wide_as_the_spread_over_fresh_examples():
    def sample(seed, n=150):
        random = np.random.default_rng(seed)
        member = random.random((n, 30)) < random.uniform(0, 0.6, size=(n, 1))  # examples have more or fewer tokens
        loss = 2 + random.standard_exponential((n, 1)) + random.normal(size=(n, 30))
        counted = np.stack([~member, member, 0 * member]).sum(axis=2)
        summed = np.stack([(loss * ~member).sum(axis=1), (loss * member).sum(axis=1), 0 * counted[0]])[None]
        return summed, counted

    fresh = [mean_by_class(*sample(seed), np.ones((1, 150)))[0, 0, 1] for seed in range(400)]
    bootstrapped = mean_by_class(*sample(1000), resample_weights(150, Bootstrap(n_resamples=400)))[:, 0, 1]
    assert bootstrapped.std() == pytest.approx(np.std(fresh), rel=0.2)


def test_without_a_window_there_is_no_change(tmp_path):
    rows = run(tmp_path, *drawn(3), found=False)
    assert {row[f"change{end}"] for row in rows.values() for end in ("", "_low", "_high")} == {None}
    assert all(row["loss_low"] < row["loss"] < row["loss_high"] for row in rows.values())


def test_a_class_without_tokens_has_no_loss_and_one_in_a_single_example_has_no_interval(tmp_path):
    values, classes = drawn(4)
    classes[classes == CLASS_OF_NAME["broken"]] = CLASS_OF_NAME["other"]
    classes[classes == CLASS_OF_NAME["continued"]] = CLASS_OF_NAME["other"]
    classes[5, 3] = CLASS_OF_NAME["continued"]
    rows = run(tmp_path, values, classes)
    none, one = rows[2, "broken"], rows[2, "continued"]
    assert [none[name] for name in ("n_tokens", "loss", "loss_low", "change", "change_high")] == [0, *[None] * 4]
    assert [one[name] for name in ("n_tokens", "loss_low", "loss_high", "change_low")] == [1, *[None] * 3]
    assert one["loss"] == pytest.approx(values[2, 5, 3])
    assert one["change"] == pytest.approx(values[2, 5, 3] - values[1, 5, 3], abs=1e-6)


def test_names_and_places_of_the_classes_agree():
    assert {name: CLASSES.index(name) for name in CLASSES} == CLASS_OF_NAME


def test_gaps_are_told(tmp_path):
    values, classes = drawn(5)
    parts = write_losses(tmp_path / "model=hand", range(4), values, blocks=4)
    with pytest.raises(InductionError, match="losses of 9 tokens an example, and 7 tokens an example are classed"):
        class_losses(parts, classes[:, :7])
    with pytest.raises(InductionError, match="has example 11, but the evaluation set has 11 examples"):
        class_losses(parts, classes[:11])
    with pytest.raises(InductionError, match="no parts to read"):
        class_losses([], classes)
    phases, out = write_phases(tmp_path / "phases" / "model=hand" / "part.parquet"), tmp_path / "out.parquet"
    with pytest.raises(
        InductionError, match=r"begins at step 1 and ends at step 2, and the losses have no .* at 2\. Give"
    ):
        repetitions(parts[:2], phases, classes, "e", BOOTSTRAP, out)
    assert not out.exists()


def test_losses_on_another_evaluation_set_than_the_classed_one(tmp_path):
    values, classes = drawn(6)
    parts = write_losses(tmp_path / "model=hand", range(4), values, blocks=2)
    phases, out = write_phases(tmp_path / "phases" / "model=hand" / "part.parquet"), tmp_path / "out.parquet"
    mark_evaluation(parts[:1], "e")
    repetitions(parts, phases, classes, "e", BOOTSTRAP, out)
    assert pq.read_schema(out).metadata[b"induction.evaluation"] == b"e"
    out.unlink()
    with pytest.raises(InductionError, match="losses on an evaluation set e, and the classes are those of new"):
        repetitions(parts, phases, classes, "new", BOOTSTRAP, out)
    mark_evaluation(parts[1:], "stale")
    with pytest.raises(InductionError, match="not of one evaluation: e and stale"):
        repetitions(parts, phases, classes, "e", BOOTSTRAP, out)
    assert not out.exists()
