"""The stages on whole tables: a planted model comes out as planted, however its parts are cut, and gaps are told."""

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from planted import (
    INSIDE,
    MILLION,
    STEPS,
    TOKENS,
    TOKENS_A_STEP,
    losses,
    power_law,
    sigmoid_fall,
    write_ablations,
    write_evaluation,
    write_heads,
    write_losses,
)

from induction.analyse.attributions import attributions
from induction.analyse.curves import curves
from induction.analyse.pca import pca
from induction.analyse.phases import phases
from induction.analyse.signals import random_index_losses, read_random_index, signals
from induction.artefacts.origins import provenance_of
from induction.errors import InductionError
from induction.study.analysis import Bootstrap, Phases
from induction.study.evaluation import InContext
from induction.tables.curves import CURVES
from induction.tables.phases import ONSETS, PHASES
from induction.tables.replicates import REPLICATES

SMALL = InContext(early=2, late=6, early_window=(2, 3), late_window=(5, 6))
BOOTSTRAP = Bootstrap(n_resamples=50)


def rising(start, end, size):
    return 0.02 - sigmoid_fall(TOKENS, start * MILLION, end * MILLION, size)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Two layers at the demo's size: in-context learning, loss and heads change, each at a time of its own."""
    folder = tmp_path_factory.mktemp("demo") / "model=attn-2l-s0"
    simulated = losses(
        TOKENS,
        mean=lambda t: power_law(t) + sigmoid_fall(t, 4e6, 6e6, 0.3),
        icl=lambda t: sigmoid_fall(t, 4e6, 6e6, 0.4),
        n_examples=1024,
        n_indices=512,
        seed=0,
    )
    previous_token = np.stack([0 * TOKENS, rising(2.6, 4.4, 0.9)], axis=1)
    prefix_matching = np.stack([rising(3.8, 5.4, 0.8), 0 * TOKENS], axis=1)
    return {
        "losses": write_losses(folder, STEPS, simulated),
        "heads": [
            write_heads(
                folder / "heads.parquet",
                STEPS,
                {
                    "prefix_matching": prefix_matching,
                    "previous_token": previous_token,
                    "copying": np.stack([rising(3, 5, 0.5), 0 * TOKENS], axis=1),
                },
            )
        ],
        "evaluation": write_evaluation(folder / "evaluation.safetensors", np.arange(1024) % 512 + 1),
    }


@pytest.fixture
def small(tmp_path):
    """Four snapshots of six examples of twelve tokens, drawn at random."""
    values = np.random.default_rng(0).uniform(1, 5, size=(4, 6, 12)).astype(np.float32)
    folder = tmp_path / "model=tiny"
    return {
        "values": values,
        "folder": folder,
        "losses": write_losses(folder, range(4), values, blocks=2),
        "heads": [write_heads(folder / "heads.parquet", range(4), {"prefix_matching": np.full((4, 2), 0.1)})],
        "evaluation": write_evaluation(folder / "evaluation.safetensors", [1, 8, 3, 4, 5, 6]),
    }


def test_each_signal_of_a_planted_model_has_the_window_that_was_planted(demo, tmp_path):
    out = tmp_path / "model=attn-2l-s0" / "phases.parquet"
    phases(
        **demo,
        in_context=InContext(),
        bootstrap=BOOTSTRAP,
        phases=Phases(),
        out=out,
        onsets_out=out.with_name("onsets"),
    )
    rows = {row["signal"]: row for row in PHASES.read(out).iter_rows(named=True)}
    assert all(row["found"] and row["support"] > 0.9 for row in rows.values()), rows
    for signal, midpoint in {"icl": 5.0, "prefix_matching": 4.6, "previous_token": 3.5, "loss": 5.0}.items():
        low, high = rows[signal]["midpoint_tokens_low"], rows[signal]["midpoint_tokens_high"]
        assert low <= midpoint * MILLION <= high, signal
    assert rows["icl"]["change"] == pytest.approx(-0.4 * INSIDE, abs=0.05)
    assert rows["prefix_matching"]["change"] == pytest.approx(0.8 * INSIDE, abs=0.03)


def test_curves_follow_what_was_planted(demo, tmp_path):
    out = tmp_path / "model=attn-2l-s0" / "curves.parquet"
    curves(**demo, in_context=InContext(), bootstrap=BOOTSTRAP, out=out, replicates_out=out.with_name("r"))
    table = CURVES.read(out)
    assert table["step"].to_list() == STEPS.tolist()
    icl, low, high = (table[f"icl_windowed{end}"].to_numpy() for end in ("", "_low", "_high"))
    planted = sigmoid_fall(TOKENS, 4e6, 6e6, 0.4)
    assert np.mean((low <= planted) & (planted <= high)) > 0.9
    deviation = 1.06 * (power_law(TOKENS) + sigmoid_fall(TOKENS, 4e6, 6e6, 0.3))  # of one token's loss, nats
    np.testing.assert_allclose(high - low, 2 * 1.96 * deviation * np.sqrt(2 / 21 / 1024), rtol=0.35)
    np.testing.assert_allclose(np.diff(icl - planted), 0, atol=0.05)  # the examples' own difficulty cancels
    assert table["best_prefix_matching"].to_numpy() == pytest.approx(rising(3.8, 5.4, 0.8), abs=1e-6)
    late = TOKENS > 5 * MILLION  # before, another head may be the best
    assert table["best_induction_copying"].to_numpy()[late] == pytest.approx(rising(3, 5, 0.5)[late], abs=1e-6)


def test_statistics_are_those_of_their_definitions(small):
    kept = signals(small["losses"], read_random_index(small["evaluation"]), SMALL)
    values = small["values"].astype(np.float64)
    at_random = values[:, np.arange(6), np.array([1, 8, 3, 4, 5, 6]) - 1]
    expected = {
        "loss": at_random,
        "mean_loss": values.mean(axis=2),
        "icl_score": values[:, :, 5] - values[:, :, 1],
        "icl_windowed": (values[:, :, 4] + values[:, :, 5] - values[:, :, 1] - values[:, :, 2]) / 2,
    }
    assert kept.by_example_SE.keys() == expected.keys()
    for name, statistic in expected.items():
        np.testing.assert_allclose(kept.by_example_SE[name], statistic, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(kept.by_index_SI, values.mean(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(kept.tokens_S, np.arange(4) * TOKENS_A_STEP)


@pytest.mark.parametrize("blocks", [1, 3, 4])
def test_order_and_cut_of_the_parts_change_nothing(small, tmp_path, blocks):
    cut = write_losses(tmp_path / "cut" / "model=tiny", range(4), small["values"], blocks)
    tables = []
    for number, parts in enumerate((small["losses"], cut[::-1])):
        out, resampled = (tmp_path / "model=tiny" / f"{name}-{number}.parquet" for name in ("curves", "replicates"))
        curves(parts, small["heads"], small["evaluation"], SMALL, BOOTSTRAP, out, resampled)
        tables.append((CURVES.read(out), REPLICATES.read(resampled)))
    assert all(one.equals(other) for one, other in zip(*tables, strict=True))


def test_a_model_of_few_snapshots_has_no_window_and_says_so(small, tmp_path):
    folder = tmp_path / "model=short"
    parts = write_losses(folder, range(3), small["values"][:3], blocks=1)
    heads = [write_heads(folder / "heads.parquet", range(3), {"prefix_matching": np.full((3, 2), 0.1)})]
    out, onsets = folder / "phases.parquet", folder / "onsets.parquet"
    phases(parts, heads, small["evaluation"], SMALL, BOOTSTRAP, Phases(), out, onsets)
    table = PHASES.read(out)
    assert ONSETS.read(onsets).equals(ONSETS.empty().with_columns(model=pl.lit("short")))
    assert not table["found"].any()
    assert set(table["reason"]) == {"3 snapshots; at least 4 are needed"}


def without(path, column):
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.drop_columns([column]), path)


def test_what_is_missing_is_told(small):
    out = small["folder"] / "x"
    read = {"parts": small["losses"], "random_index_E": read_random_index(small["evaluation"])}
    with pytest.raises(InductionError, match=r"does not exist\. Make it: snakemake"):
        random_index_losses([small["folder"] / "block-9.parquet"], read["random_index_E"])
    with pytest.raises(InductionError, match="no parts to read"):
        random_index_losses([], read["random_index_E"])
    with pytest.raises(InductionError, match="step 0 has 6 rows of 6 examples; one row for each of the 7"):
        random_index_losses(small["losses"], np.ones(7, dtype=np.int64))
    with pytest.raises(InductionError, match="has example 5, but the evaluation set has 5 examples"):
        random_index_losses(small["losses"], np.ones(5, dtype=np.int64))
    with pytest.raises(InductionError, match="step 0 has 12 rows of 6 examples"):
        random_index_losses([small["losses"][0]] * 2, read["random_index_E"])
    with pytest.raises(InductionError, match=r"differ in the steps \[2, 3\]"):
        curves(small["losses"][:1], small["heads"], small["evaluation"], SMALL, BOOTSTRAP, out, out)
    with pytest.raises(InductionError, match="tokens 13 to 13 are asked of losses of 12 tokens"):
        random_index_losses(small["losses"], np.full(6, 13))
    with pytest.raises(InductionError, match="token 510 is asked of losses of 12 tokens"):
        signals(**read, in_context=InContext())
    without(small["losses"][0], "loss")
    with pytest.raises(InductionError, match="lacks loss of table losses"):
        random_index_losses(**read)
    without(small["heads"][0], "copying")
    with pytest.raises(InductionError, match="lacks copying of table heads"):
        curves(small["losses"][1:], small["heads"], small["evaluation"], SMALL, BOOTSTRAP, out, out)


def test_a_damaged_evaluation_set_is_told(small, tmp_path):
    with pytest.raises(InductionError, match="this evaluation set does not exist"):
        read_random_index(tmp_path / "nowhere.safetensors")
    whole = small["evaluation"].read_bytes()
    for kept in (0, 5, len(whole) - 4):
        small["evaluation"].write_bytes(whole[:kept])
        with pytest.raises(InductionError, match="not a whole evaluation set"):
            read_random_index(small["evaluation"])


def test_curves_are_readable_by_polars_as_one_table(small, tmp_path):
    for model in ("a", "b"):
        out, resampled = (tmp_path / table / f"model={model}" / "part.parquet" for table in ("curves", "replicates"))
        curves(small["losses"], small["heads"], small["evaluation"], SMALL, BOOTSTRAP, out, resampled)
    frame = pl.read_parquet(tmp_path / "curves", hive_partitioning=True)
    assert frame.group_by("model").len().sort("model").rows() == [("a", 4), ("b", 4)]


def footer(path):
    metadata = pq.read_schema(path).metadata
    return {
        name: metadata.get(f"induction.{name}".encode(), b"").decode() for name in ("recipe", "corpus", "evaluation")
    }


def stamp(path, **provenance):
    """Write a part again with a footer that says where it is from."""
    table = pq.read_table(path, partitioning=None)
    told = {f"induction.{name}".encode(): value.encode() for name, value in provenance.items()}
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, **told}), path)
    return path


@pytest.fixture
def stages(small, tmp_path):
    """The stages on parts of one recipe, each a function of the file to write; and all the parts."""
    folder, losses, heads, evaluation = (small[name] for name in ("folder", "losses", "heads", "evaluation"))
    ablated = [write_ablations(folder / "ablations.parquet", 2, np.array([2, 1]), np.ones((2, 2)))]
    without_window, made = folder / "phases.parquet", folder / "made"
    phases(losses, heads, evaluation, SMALL, BOOTSTRAP, Phases(), without_window, made / "onsets")
    parts = [*losses, *heads, *ablated, without_window]
    for part in parts:
        stamp(part, recipe="r", corpus="c", evaluation="e")
    measured, resampling = (losses, heads, evaluation, SMALL, BOOTSTRAP), (BOOTSTRAP, Phases())
    return parts, {
        "curves": lambda out: curves(*measured, out, made / "replicates"),
        "replicates": lambda out: curves(*measured, made / "curves", out),
        "phases": lambda out: phases(*measured, Phases(), out, made / "onsets"),
        "onsets": lambda out: phases(*measured, Phases(), made / "phases", out),
        "attributions": lambda out: attributions(ablated, losses, without_window, evaluation, BOOTSTRAP, out),
        "pca": lambda out: pca(losses, {"all": evaluation}, {"tiny": "all"}, *resampling, out),
    }


STAGES = ["curves", "replicates", "phases", "onsets", "attributions", "pca"]


@pytest.mark.parametrize("stage", STAGES)
def test_the_footer_says_what_a_table_was_made_of(stages, tmp_path, stage):
    _, run = stages
    out = tmp_path / "out" / "model=tiny" / "part.parquet"
    run[stage](out)
    assert footer(out) == {"recipe": "r", "corpus": "c", "evaluation": "e"}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["recipe", "corpus", "evaluation"])
def test_parts_of_two_recipes_corpora_or_evaluation_sets_are_refused(stages, tmp_path, stage, name):
    parts, run = stages
    stamp(parts[1], **{name: "stale"})
    out = tmp_path / "out" / "model=tiny" / "part.parquet"
    with pytest.raises(InductionError, match=rf"parquet and .*parquet: not of one {name}: .*stale") as error:
        run[stage](out)
    assert parts[1].as_posix() in str(error.value)
    assert not out.exists()


def test_parts_without_provenance_are_no_reason_to_refuse(small):
    assert provenance_of(small["losses"]) == {}
    stamp(small["losses"][0], corpus="c", recipe="r")
    stamp(small["losses"][1], recipe="r")
    assert provenance_of([*small["losses"], *small["heads"]]) == {"recipe": "r", "corpus": "c"}
    with pytest.raises(InductionError, match="does not exist"):
        provenance_of([small["folder"] / "nowhere.parquet"])
    small["losses"][0].write_bytes(small["losses"][0].read_bytes()[:-9])
    with pytest.raises(InductionError, match="not a whole Parquet file"):
        provenance_of(small["losses"])
