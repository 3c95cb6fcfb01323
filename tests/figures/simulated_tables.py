"""Tables of a study that never ran: a planted phase change, written as the stages write theirs."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from induction.study.analysis import Heads
from induction.study.evaluation import InContext
from induction.tables.ablations import ABLATIONS
from induction.tables.attributions import ATTRIBUTIONS
from induction.tables.curves import CURVES
from induction.tables.heads import HEADS
from induction.tables.pca import PCA
from induction.tables.phases import PHASES

STEPS = np.array(sorted({*range(0, 3961, 120), *range(1320, 2881, 60)}))
TOKENS_A_STEP = 2048
N_HEADS = 4
SETTINGS_JSON = json.dumps({"heads": Heads().model_dump(), "in_context": InContext().model_dump()})


@dataclass(frozen=True)
class Planted:
    """A model; its phase change is around `midpoint`, in millions of tokens, or nowhere."""

    n_layers: int
    midpoint: float | None
    seed: int = 0
    family: str = "attn"
    label: str = "attention-only"
    smeared_keys: bool = False
    d_mlp: int = 0

    @property
    def name(self) -> str:
        return f"{self.family}-{self.n_layers}l-s{self.seed}"

    @property
    def window(self) -> tuple[int, int] | None:
        if self.midpoint is None:
            return None
        width = 0.18 * self.midpoint
        return round((self.midpoint - width) * 1e6), round((self.midpoint + width) * 1e6)


SMEARED = {"family": "smeared", "label": "smeared keys", "smeared_keys": True}
DEMO = (
    Planted(1, None),
    Planted(2, 4.8),
    Planted(1, 1.1, **SMEARED),
    Planted(2, 0.9, **SMEARED),
    Planted(2, 6.6, family="mlp", label="with MLPs", d_mlp=512),
)


def models_json(models) -> str:
    fields = ("name", "family", "label", "n_layers", "seed", "smeared_keys", "d_mlp")
    return json.dumps([{field: getattr(model, field) for field in fields} for model in models])


def write_tables(folder: Path, models=DEMO, steps=STEPS) -> list[Path]:
    """Write every table of `models` under `folder` and return the files."""
    tables = folder / "results" / "tables"
    paths = []
    trajectories = []
    for number, model in enumerate(models):
        rng = np.random.default_rng(number)
        rise = _rise(model, steps * TOKENS_A_STEP)
        for table, rows in (
            (CURVES, _curves(model, steps, rise, rng)),
            (HEADS, _heads(model, steps, rise, rng)),
            (PHASES, _phases(model)),
            (ABLATIONS, _ablations(model, steps, rise, rng)),
            (ATTRIBUTIONS, _attributions(model, steps, rise, rng)),
        ):
            name = "block-0" if table in (HEADS, ABLATIONS) else "part"
            path = tables / table.name / f"model={model.name}" / f"{name}.parquet"
            with table.writer(path) as writer:
                if rows and len(steps):
                    writer.append(rows)
            paths.append(path)
        trajectories.append(_pca(model, steps, rise, rng))
    path = tables / "pca.parquet"
    PCA.write(path, {column: np.concatenate([part[column] for part in trajectories]) for column in trajectories[0]})
    return [*paths, path]


def _rise(model: Planted, tokens):
    """From 0 to 1 around the model's midpoint."""
    if model.midpoint is None:
        return np.zeros(len(tokens))
    return 1 / (1 + np.exp(-(tokens / 1e6 - model.midpoint) / (0.09 * model.midpoint)))


def _curves(model: Planted, steps, rise, rng):
    tokens = steps * TOKENS_A_STEP
    early = 1 - np.exp(-tokens / 2e6)
    icl = -0.15 * early - 0.25 * rise
    loss = 2.35 + 4.3 * np.exp(-tokens / 1.2e5) + 1.2 * np.exp(-tokens / 1.5e6) - 0.22 * rise - 0.03 * model.n_layers
    columns = {"step": steps, "tokens": tokens, "loss_by_index": np.tile(np.float32(3), (len(steps), 512))}
    for name, values, noise, half in (
        ("loss", loss, 0.004, 0.03),
        ("mean_loss", loss, 0.002, 0.01),
        ("icl_score", icl, 0.04, 0.12),
        ("icl_windowed", icl, 0.006, 0.03),
    ):
        noisy = values + rng.normal(0, noise, len(steps))
        columns |= {name: noisy, f"{name}_low": noisy - half, f"{name}_high": noisy + half}
    return columns | {
        "best_prefix_matching": 0.02 + 0.8 * rise,
        "best_previous_token": 0.05 + 0.9 * rise,
        "best_induction_copying": 0.9 * rise,
    }


def _each_head(model: Planted, steps):
    """Return the columns that name a head in a snapshot, and where the planted heads are."""
    step, layer, head = (
        grid.ravel() for grid in np.meshgrid(steps, np.arange(model.n_layers), np.arange(N_HEADS), indexing="ij")
    )
    key = {"step": step, "tokens": step * TOKENS_A_STEP, "layer": layer, "head": head}
    forms = model.midpoint is not None
    is_induction = (layer == model.n_layers - 1) & (head == 1) & forms
    is_previous = (layer == 0) & (head == 2) & forms & (model.n_layers > 1)
    return key, is_induction, is_previous


def _heads(model: Planted, steps, rise, rng):
    key, is_induction, is_previous = _each_head(model, steps)
    rise = np.repeat(rise, model.n_layers * N_HEADS)
    little = rng.uniform(0.01, 0.03, len(rise))
    scores = {
        "prefix_matching": little + 0.8 * rise * is_induction,
        "copying": little + 0.9 * rise * is_induction,
        "copying_literal": little - 0.5,
        "previous_token": little + 0.9 * rise * is_previous,
    }
    columns = {**key, "ov_copying": 0.1, "qk_trace": None}
    columns |= {f"{letter}_composition": None for letter in "kqv"}
    for name, values in scores.items():
        columns |= {name: values, f"{name}_se": 0.01}
    return {name: values if values is not None else [None] * len(rise) for name, values in columns.items()}


def _phases(model: Planted):
    window = model.window
    start, end = window or (None, None)
    edges = {"start_tokens": start, "midpoint_tokens": window and sum(window) / 2, "end_tokens": end}
    columns = {"signal": ["icl"], "found": [window is not None], "support": [1.0], "reason": ["planted"]}
    for name, value in edges.items():
        columns |= {name: [value], f"{name}_low": [value and value * 0.97], f"{name}_high": [value and value * 1.03]}
    steps = None
    if window:
        tokens = STEPS * TOKENS_A_STEP
        steps = (STEPS[tokens <= start].max(), STEPS[tokens >= end].min())
    return columns | {
        "start_step": [steps and steps[0]],
        "end_step": [steps and steps[1]],
        "change": [window and -0.25],
    }


def _ablated(steps):
    """Every fourth snapshot and the last: the ones that heads are ablated in."""
    every = np.arange(len(steps))
    return np.union1d(every[::4], every[-1:])


def _ablations(model: Planted, steps, rise, rng):
    taken = _ablated(steps)
    key, is_induction, is_previous = _each_head(model, steps[taken])
    rise = np.repeat(rise[taken], model.n_layers * N_HEADS)
    parts = []
    for mode, of_previous in (("pattern-preserving", -0.04), ("full", 0.28)):
        change = rise * (0.31 * is_induction + of_previous * is_previous) + rng.normal(-0.01, 0.008, len(rise))
        parts.append({**key, "mode": np.full(len(rise), mode), "icl_change": change})
    intact = {"layer": [None], "head": [None], "mode": ["intact"], "icl_change": [0.0]}
    parts += [{"step": [step], "tokens": [step * TOKENS_A_STEP], **intact} for step in steps[taken]]
    columns = {name: [value for part in parts for value in part[name]] for name in parts[0]}
    n_rows = len(columns["step"])
    return columns | {
        "loss": 2.5,
        "icl_score": -0.3,
        "icl_windowed": -0.3,
        "icl_change_se": np.full(n_rows, 0.012),
        "random_index_loss": np.ones((n_rows, 8), dtype=np.float32),
    }


def _attributions(model: Planted, steps, rise, rng):
    if model.window is None:
        return {}
    taken = _ablated(steps)
    key, is_induction, _ = _each_head(model, steps[taken])
    rise = np.repeat(rise[taken], model.n_layers * N_HEADS)
    before_after = -6 * rise * is_induction + rng.normal(0.2, 0.2, len(rise))
    return key | {
        "mode": "pattern-preserving",
        "before_after": before_after,
        "before_after_se": np.full(len(rise), 0.3),
        "fraction_undone": -before_after / 10,
        "fraction_undone_se": 0.03,
    }


def _pca(model: Planted, steps, rise, rng):
    tokens = steps * TOKENS_A_STEP
    n_rows = len(steps)
    return {
        "model": np.full(n_rows, model.name),
        "step": steps,
        "tokens": tokens,
        "pc1": 20 * np.exp(-tokens / 1.2e6) - 8 * rise - model.n_layers + rng.normal(0, 0.1, n_rows),
        "pc2": 5 * (1 - np.exp(-tokens / 1e6)) - 9 * rise + model.n_layers + rng.normal(0, 0.1, n_rows),
        "pc1_explained": np.full(n_rows, 0.71),
        "pc2_explained": np.full(n_rows, 0.16),
    }
