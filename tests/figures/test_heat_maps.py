"""Losses by token index and training: what is drawn equals what was planted."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from drawings import drawn, in_rows, inputs_of, lines, notes
from matplotlib.collections import QuadMesh
from matplotlib.contour import ContourSet
from simulated_tables import DEMO, SEEDS, SETTINGS_JSON, STEPS, TOKENS_A_STEP, models_json, write_tables

from induction.figures import heat_maps, indices
from induction.figures.stage import figure
from induction.figures.theme import SIGNED_COLOURS

TWO = DEMO[1]
INDICES = np.arange(1, 513)
TOKENS = STEPS * TOKENS_A_STEP


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("demo"), DEMO)


def with_losses(inputs, losses, time="linear"):
    """Replace all losses of every model by `losses`, [snapshot, index]."""
    curves = inputs.tables["curves"].sort("model", "tokens")
    rows = np.tile(losses, (len(curves) // len(losses), 1))
    columns = curves.with_columns(pl.Series("loss_by_index", rows.tolist(), dtype=curves.schema["loss_by_index"]))
    settings = inputs.settings.model_copy(update={"time": time})
    return replace(inputs, tables={**inputs.tables, "curves": columns}, settings=settings)


def maps_of(inputs):
    """The panels' maps, [row, column]."""
    axes = [axis for axis in heat_maps.draw(inputs).axes if axis.get_label() != "<colorbar>"]
    return in_rows([mesh_of(axis) for axis in axes], len(inputs.architectures)), axes


def mesh_of(axis):
    (mesh,) = [artist for artist in axis.collections if isinstance(artist, QuadMesh)]
    return mesh


def test_bins_are_as_wide_as_told_and_hold_every_index_once():
    bins = heat_maps.binned(np.log(INDICES)[None])
    assert bins.edges[0] == 1
    assert bins.edges[-1] == 513
    sizes = np.diff(bins.edges)
    assert (sizes >= 1).all()
    late = sizes > 4  # narrower ones cannot be as wide as told: an index is whole
    widths = np.diff(np.log(bins.edges))[late]
    np.testing.assert_allclose(widths[:-1], indices.BIN, atol=1 / 4)
    np.testing.assert_allclose(bins.loss[0], bins.log_index)


def test_the_derivative_of_a_logarithm_is_its_factor_everywhere():
    losses = np.outer([0.0, -0.2, 0.7], np.log(INDICES)) + np.array([[5.0], [4.0], [3.0]])
    slope = heat_maps.binned(losses).slope
    np.testing.assert_allclose(slope, np.repeat([[0.0], [-0.2], [0.7]], slope.shape[1], axis=1), atol=1e-12)


@pytest.mark.parametrize("time", ["linear", "log"])
def test_a_map_shows_the_losses_and_their_slopes_between_the_snapshots(demo, time):
    factor = np.linspace(0.1, -0.25, len(STEPS))
    losses = 4 + np.outer(factor, np.log(INDICES))
    inputs = with_losses(inputs_of("heat_maps", demo), losses, time)
    maps, axes = maps_of(inputs)
    taken = TOKENS > 0 if time == "log" else TOKENS >= 0
    place = np.log if time == "log" else np.asarray
    for row, values in ((0, heat_maps.binned(losses[taken]).loss), (1, heat_maps.binned(losses[taken]).slope)):
        mesh = maps[row, 1]
        np.testing.assert_allclose(mesh.get_array(), values.T, rtol=1e-5, atol=1e-5)
        corners = mesh.get_coordinates()
        edges = corners[0, :, 0]
        assert (edges[0], edges[-1]) == pytest.approx((TOKENS[taken][0], TOKENS[-1]))
        at = place(TOKENS[taken])
        np.testing.assert_allclose(place(edges[1:-1]), (at[1:] + at[:-1]) / 2)
        assert (corners[0, 0, 1], corners[-1, 0, 1]) == (0.5, 512.5)
        assert mesh.get_rasterized()
    assert {axis.get_yscale() for axis in axes} == {"log"}


def test_slopes_have_the_papers_colours_and_a_line_where_they_are_0(demo):
    turn = np.log(30.0)
    losses = np.tile(0.1 * (np.log(INDICES) - turn) ** 2 + 3, (len(STEPS), 1))
    maps, axes = maps_of(with_losses(inputs_of("heat_maps", demo), losses))
    mesh = maps[1, 1]
    assert (mesh.norm.vmin, mesh.norm.vmax, mesh.get_cmap()) == (-0.3, 0.3, SIGNED_COLOURS)
    (zero,) = [artist for artist in in_rows(axes, len(DEMO))[1, 1].collections if isinstance(artist, ContourSet)]
    (path,) = zero.get_paths()
    np.testing.assert_allclose(np.log(path.vertices[:, 1]), turn, atol=0.05)
    result = heat_maps.draw(inputs_of("heat_maps", demo))
    bars = [axis for axis in result.axes if axis.get_label() == "<colorbar>"]
    assert [axis._colorbar.extend for axis in bars] == ["both", "both"]


def test_the_window_is_two_lines_and_a_model_without_one_has_none(demo):
    inputs, _, axes = drawn("heat_maps", demo)
    window = inputs.tables["phases"].filter(model=TWO.name).row(0, named=True)
    for without, axis in in_rows(axes, len(DEMO))[:, :2]:
        for name in ("start", "end"):
            (edge,) = lines(axis, f"window's {name}")
            assert edge.get_xdata() == [window[f"{name}_tokens"]] * 2
            assert not lines(without, f"window's {name}")


def test_of_several_seeds_the_first_that_is_measured_is_shown_and_named(tmp_path):
    paths = write_tables(tmp_path, SEEDS)
    inputs = inputs_of("heat_maps", paths, SEEDS)
    curves = inputs.tables["curves"].filter(pl.col("model") != SEEDS[3].name)
    maps, axes = maps_of(replace(inputs, tables={**inputs.tables, "curves": curves}))
    assert [axis.get_title() for axis in axes[:2]] == ["1 layer, seed 0", "2 layers, seed 1"]
    rows = curves.filter(model=SEEDS[4].name).sort("tokens")
    shown = heat_maps.binned(np.array(rows["loss_by_index"].to_list())).loss
    np.testing.assert_allclose(maps[0, 1].get_array(), shown.T, rtol=1e-6)


def test_a_single_snapshot_makes_no_map(tmp_path):
    _, _, axes = drawn("heat_maps", write_tables(tmp_path, (TWO,), steps=STEPS[:1]), (TWO,))
    assert [notes(axis) for axis in axes] == [["one snapshot\nmeasured"]] * 2
    assert not any(axis.collections for axis in axes)


def test_files_stay_small(demo, tmp_path):
    figure("heat_maps", demo, models_json(DEMO), SETTINGS_JSON, tmp_path / "heat_maps")
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 1_500_000
