"""The stages that ablate: what is measured on which snapshot, and the columns against plain sums."""

import numpy as np
import polars as pl
import pytest
import torch

from induction.errors import InductionError
from induction.measure.ablated_runs import Ablation, ablated_losses
from induction.measure.ablations import ablations
from induction.measure.set_ablations import HeadSet, head_sets, set_ablations
from induction.resampling import resample_weights
from induction.study.analysis import Bootstrap, Heads
from induction.study.evaluation import Ablations, InContext
from induction.tables.ablations import ABLATIONS, SET_ABLATIONS
from induction.tables.heads import HEADS
from measure.blocks import write_block
from measure.test_parity import T, V, random_model

N_EXAMPLES = 6
IN_CONTEXT = InContext(early=3, late=20, early_window=(2, 4), late_window=(19, 22))
ASKED = (2, 3, 4, 19, 20, 21, 22)
CLASSES = pl.DataFrame(
    {
        "layer": [0, 0, 0, 0, 1, 1, 1, 1],
        "head": [0, 1, 2, 3] * 2,
        "class": ["previous-token", *["other"] * 3, "induction", "other", "induction", "other"],
    }
)


@pytest.fixture
def measured(tmp_path):
    """What both stages are given: a block of two snapshots, the second ablated in every way."""
    generator = np.random.default_rng(0)
    manifest = write_block(tmp_path / "model", {10: random_model(0), 20: random_model(1)})
    return {
        "manifest": manifest,
        "tokens": generator.integers(0, V, (N_EXAMPLES + 3, T + 1)).astype(np.int32),
        "random_index": generator.integers(1, T, N_EXAMPLES + 3),
        "in_context": IN_CONTEXT,
        "settings": Ablations(n_examples=N_EXAMPLES, n_random_sets=2),
        "bootstrap": Bootstrap(n_resamples=50),
        "steps": [10, 20],
        "steps_every_way": [20],
        "out": tmp_path / "tables/model=m/block-0.parquet",
        "provenance": {},
        "device": "cpu",
    }


def losses_of(measured, model, ablation):
    tokens_BT = torch.from_numpy(measured["tokens"][:N_EXAMPLES]).long()
    indices = [[*ASKED, index] for index in measured["random_index"][:N_EXAMPLES]]
    asked = [ablation] if ablation else []
    return ablated_losses(model, tokens_BT, torch.tensor(indices) - 1, asked)[ablation].double().numpy()


def test_ways_and_columns(measured):
    ablations(**measured)
    rows = ABLATIONS.read(measured["out"])
    found = rows.group_by("step", "mode", "replacement", "norm").len().iter_rows()
    counts = {tuple(way): n_rows for *way, n_rows in found}
    ways = {("pattern-preserving", kind, "recomputed") for kind in ("zero", "mean", "resample")}
    ways |= {("full", "zero", "recomputed"), ("pattern-preserving", "zero", "frozen")}
    expected = {(20, *way): 8 for way in ways}
    expected |= {(10, mode, "zero", "recomputed"): 8 for mode in ("pattern-preserving", "full")}
    assert counts == expected | {(step, "intact", "none", "recomputed"): 1 for step in (10, 20)}
    assert rows["tokens"].to_list() == [100 * step for step in rows["step"]]

    model, ablation = random_model(1), Ablation(((1, 2),), "pattern-preserving", "mean", "recomputed")
    row = rows.row(by_predicate=(pl.col("step") == 20) & (pl.col("mode") == "pattern-preserving") & (pl.col("replacement") == "mean")
                   & (pl.col("layer") == 1) & (pl.col("head") == 2), named=True)  # fmt: skip
    losses, intact = losses_of(measured, model, ablation), losses_of(measured, model, None)
    assert row["random_index_loss"] == pytest.approx(losses[:, -1], abs=1e-5)
    assert row["loss"] == pytest.approx(losses[:, -1].mean(), abs=1e-5)
    assert row["icl_score"] == pytest.approx((losses[:, 4] - losses[:, 1]).mean(), abs=1e-5)
    windowed, before = (of[:, 3:7].mean(1) - of[:, 0:3].mean(1) for of in (losses, intact))
    assert row["icl_windowed"] == pytest.approx(windowed.mean(), abs=1e-5)
    assert row["icl_change"] == pytest.approx((windowed - before).mean(), abs=1e-5)
    resampled = resample_weights(N_EXAMPLES, measured["bootstrap"]) @ (windowed - before)
    assert row["icl_change_se"] == pytest.approx(resampled.std(ddof=1), rel=1e-3)
    intact_row = rows.row(by_predicate=(pl.col("step") == 20) & (pl.col("mode") == "intact"), named=True)
    assert intact_row["icl_change"] == intact_row["icl_change_se"] == 0
    assert intact_row["icl_windowed"] == pytest.approx(before.mean(), abs=1e-5)


def test_a_block_without_an_ablated_snapshot_is_an_empty_part(measured):
    ablations(**measured | {"steps": [], "steps_every_way": []})
    assert ABLATIONS.read(measured["out"]).is_empty()


def test_sets_are_classes_and_as_many_others():
    sets = head_sets(CLASSES, n_random=4)
    by_name = {one.name: one for one in sets}
    assert by_name["induction"] == HeadSet("induction", 0, ((1, 0), (1, 2)))
    assert by_name["previous-token"].heads == ((0, 0),)
    assert len(by_name["other"].heads) == 5
    random = [one for one in sets if one.name == "random-induction"]
    assert [one.draw for one in random] == [0, 1, 2, 3]
    for one in random:
        assert len(set(one.heads)) == 2
        assert not set(one.heads) & set(by_name["induction"].heads)
    assert len({one.heads for one in random}) > 1
    assert not any(one.name == "random-other" for one in sets), "three heads cannot make a set of five"
    assert head_sets(CLASSES, n_random=4) == sets


def test_sets_are_ablated_together(measured, tmp_path):
    scores = {column.name: 0.0 for column in HEADS.columns}
    scores |= {"step": 20, "tokens": 2000, **CLASSES.select("layer", "head").to_dict(as_series=False)}
    scores["previous_token"] = [0.9, *[0.0] * 7]
    scores["prefix_matching"] = [0.0] * 4 + [0.9, 0.0, 0.9, 0.0]
    scores["copying"] = 0.5
    part = tmp_path / "heads/model=m/block-0.parquet"
    HEADS.write(part, scores)
    shared = {name: value for name, value in measured.items() if not name.startswith("steps")}
    set_ablations(heads=[part], thresholds=Heads(), **shared)
    rows = SET_ABLATIONS.read(measured["out"])
    assert set(rows["step"]) == {20}
    row = rows.row(by_predicate=(pl.col("set_name") == "induction") & (pl.col("replacement") == "resample"), named=True)
    assert (row["heads"], row["n_heads"], row["draw"], row["mode"]) == ("1.0 1.2", 2, 0, "pattern-preserving")
    ablation = Ablation(((1, 0), (1, 2)), "pattern-preserving", "resample", "recomputed")
    expected = losses_of(measured, random_model(1), ablation)[:, -1]
    assert row["random_index_loss"] == pytest.approx(expected, abs=1e-5)
    assert rows.filter(set_name="intact").height == 1
    assert rows.filter(set_name="induction").height == 5, "the paper's two ways, mean, resample, frozen"
    HEADS.write(part, {**scores, "step": 10})
    with pytest.raises(InductionError, match="not the scores of the 8 heads at step 20"):
        set_ablations(heads=[part], thresholds=Heads(), **shared)
