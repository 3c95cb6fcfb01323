"""Tables of a study that never ran: a planted phase change, written as the stages write theirs."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from induction.study.analysis import Heads
from induction.study.evaluation import InContext
from induction.tables.ablations import ABLATIONS, SET_ABLATIONS
from induction.tables.attributions import ATTRIBUTIONS
from induction.tables.case_studies import CASE_STUDIES
from induction.tables.compositions import COMPOSITIONS
from induction.tables.curves import CURVES
from induction.tables.heads import HEADS
from induction.tables.idealised import IDEALISED
from induction.tables.pattern_tasks import PATTERN_TASKS
from induction.tables.pca import PCA
from induction.tables.periods import PERIODS
from induction.tables.phases import PHASES
from induction.tables.repetitions import PASSAGES, REPETITIONS
from induction.tables.window_rules import WINDOW_RULES

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
    n_heads: int = N_HEADS

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

SIX = tuple(Planted(n_layers, None if n_layers == 1 else 6 - 0.5 * n_layers) for n_layers in range(1, 7))
SEEDS = tuple(
    Planted(n_layers, None if n_layers == 1 else 4.4 + 0.4 * seed, seed) for n_layers in (1, 2) for seed in range(3)
)
BIG = tuple(
    Planted(n_layers, None if n_layers == 1 else 6 - 0.5 * n_layers, n_heads=12, **family)
    for family in ({}, {"family": "mlp", "label": "with MLPs", "d_mlp": 512})
    for n_layers in (1, 2, 4, 6)
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
            (SET_ABLATIONS, _set_ablations(model, steps, rise, rng)),
            (REPETITIONS, _repetitions(model, steps, rise, rng)),
            (PASSAGES, _passages(model, steps, rng)),
            (COMPOSITIONS, _compositions(model, steps, rng)),
            (PERIODS, _periods(model, steps)),
            (IDEALISED, _idealised(model, steps, rng)),
            (PATTERN_TASKS, _pattern_tasks(model, steps, rng)),
            (CASE_STUDIES, _case_studies(model, steps, rng)),
            (WINDOW_RULES, _window_rules(model, steps)),
        ):
            name = "block-0" if table in (HEADS, ABLATIONS, SET_ABLATIONS) else "part"
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
    columns = {"step": steps, "tokens": tokens, "loss_by_index": _by_index(loss, early, rise, rng)}
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


INDICES = np.arange(1, 513)


def _by_index(loss, early, rise, rng):
    """Falls with the index: by 1.5 nats early in the context, and from token 25 on by what is learned from context."""
    late = np.clip(np.log(INDICES / 25) / np.log(20), 0, None)
    expected = loss[:, None] + 1.5 / INDICES - np.outer(0.15 * early + 0.25 * rise, late)
    return np.float32(expected + rng.normal(0, 0.02, expected.shape))


def _each_head(model: Planted, steps):
    """Return the columns that name a head in a snapshot, and where the planted heads are."""
    step, layer, head = (
        grid.ravel() for grid in np.meshgrid(steps, np.arange(model.n_layers), np.arange(model.n_heads), indexing="ij")
    )
    key = {"step": step, "tokens": step * TOKENS_A_STEP, "layer": layer, "head": head}
    forms = model.midpoint is not None
    is_induction = (layer == model.n_layers - 1) & (head == 1) & forms
    is_previous = (layer == 0) & (head == 2) & forms & (model.n_layers > 1)
    return key, is_induction, is_previous


def _heads(model: Planted, steps, rise, rng):
    key, is_induction, is_previous = _each_head(model, steps)
    rise = np.repeat(rise, model.n_layers * model.n_heads)
    little = rng.uniform(0.01, 0.03, len(rise))
    own = rng.uniform(0.01, 0.15, model.n_layers * model.n_heads)
    scores = {
        "prefix_matching": little + 0.8 * rise * is_induction,
        "copying": np.clip(0.8 * rise * is_induction + np.tile(own, len(steps)), -1, 1),
        "copying_literal": little - 0.5,
        "previous_token": little + 0.9 * rise * is_previous,
    }
    later = (key["layer"] > 0) & (model.d_mlp == 0)
    trace = np.where(later, 3000 * scores["prefix_matching"] ** 2 + rng.normal(0, 20, len(rise)), np.nan)
    ov_copying = np.clip(1.2 * scores["copying"] + rng.uniform(-0.3, 0.1, len(rise)), -1, 1)
    columns = {**key, "ov_copying": ov_copying, "qk_trace": trace}
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


OTHER_RULES = {
    "smoothing_snapshots": (0.5, 1.0, 2.0, 3.0),
    "rate_fraction": (0.3, 0.45, 0.6, 0.75, 0.9),
    "min_icl_drop_nats": (0.03, 0.06, 0.12, 0.24),
}
USUAL_RULES = {"smoothing_snapshots": 1.0, "rate_fraction": 0.6, "min_icl_drop_nats": 0.12}


def _window_rules(model: Planted, steps):
    """A greater share of the rate makes the window shorter; under the greatest least fall there is none."""
    if not len(steps):
        return {}
    rows = []
    for rule, values in OTHER_RULES.items():
        for value in values:
            found = model.window is not None and (rule, value) != ("min_icl_drop_nats", 0.24)
            start, end = model.window if found else (None, None)
            longer = (0.6 - value) * (end - start) / 2 if found and rule == "rate_fraction" else 0
            rows.append(
                {"rule": rule, "value": value, "usual": value == USUAL_RULES[rule], "found": found}
                | {"support": 0.9 if found else 0.1, "midpoint_tokens": (start + end) / 2 if found else None}
                | {"start_tokens": start - longer if found else None, "end_tokens": end + longer if found else None}
            )
    return _columns(rows)


def _ablated(steps):
    """Every fourth snapshot and the last: the ones that heads are ablated in."""
    every = np.arange(len(steps))
    return np.union1d(every[::4], every[-1:])


CHOICES = (("zero", "recomputed"), ("mean", "recomputed"), ("resample", "recomputed"), ("zero", "frozen"))


def _ablations(model: Planted, steps, rise, rng):
    taken = _ablated(steps)
    key, is_induction, is_previous = _each_head(model, steps[taken])
    rise = np.repeat(rise[taken], model.n_layers * model.n_heads)
    parts = []
    for (replacement, norm), size in zip(CHOICES, (1.0, 0.9, 0.8, 1.1), strict=True):
        how = {"replacement": np.full(len(rise), replacement), "norm": np.full(len(rise), norm)}
        for mode, of_previous in (("pattern-preserving", -0.04), ("full", 0.28)):
            change = rise * (size * 0.31 * is_induction + of_previous * is_previous) + rng.normal(
                -0.01, 0.008, len(rise)
            )
            parts.append({**key, **how, "mode": np.full(len(rise), mode), "icl_change": change})
    intact = {"mode": ["intact"], "replacement": ["none"], "norm": ["recomputed"], "icl_change": [0.0]}
    intact |= {"layer": [None], "head": [None]}
    parts += [{"step": [step], "tokens": [step * TOKENS_A_STEP], **intact} for step in steps[taken]]
    columns = {name: [value for part in parts for value in part[name]] for name in parts[0]}
    return columns | _left(len(columns["step"]))


def _left(n_rows):
    return {
        "loss": 2.5,
        "icl_score": -0.3,
        "icl_windowed": -0.3,
        "icl_change_se": np.full(n_rows, 0.012),
        "random_index_loss": np.ones((n_rows, 8), dtype=np.float32),
    }


def _set_ablations(model: Planted, steps, rise, rng):
    """All heads of a class at once, and three times as many others: only the induction heads cost anything."""
    taken = _ablated(steps)
    n_all = model.n_layers * model.n_heads
    n_heads = {kind: len(heads) for kind, heads in planted_heads(model).items()}
    n_heads["other"] = n_all - sum(n_heads.values())
    sets = [("intact", 0, 0, 0.0)]
    for kind, n in n_heads.items():
        if n:
            sets.append((kind, 0, n, 0.33 if kind == "induction" else -0.03))
            sets += [(f"random-{kind}", draw, n, 0.0) for draw in range(3)]
    rows = [
        {
            "step": steps[at],
            "tokens": steps[at] * TOKENS_A_STEP,
            "set_name": name,
            "draw": draw,
            "n_heads": n,
            "heads": " ".join(["0.0"] * n),
            "mode": mode,
            "replacement": replacement,
            "norm": "recomputed",
            "icl_change": effect * rise[at] + (rng.normal(0, 0.01) if n else 0),
        }
        for at in taken
        for name, draw, n, effect in sets
        for mode, replacement in ([("pattern-preserving", "zero"), ("full", "mean")] if n else [("intact", "none")])
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
    return columns and columns | _left(len(rows))


def planted_heads(model: Planted) -> dict[str, list[tuple[int, int]]]:
    """Where the planted heads are, by class."""
    forms = model.midpoint is not None
    return {
        "induction": [(model.n_layers - 1, 1)] if forms else [],
        "previous-token": [(0, 2)] if forms and model.n_layers > 1 else [],
    }


def _repetitions(model: Planted, steps, rise, rng):
    rows = []
    window = _window_steps(model)
    n_tokens = {"continued": 41_000, "broken": 23_000, "other": 460_000}
    for kind, level, effect in (("continued", 0.9, -0.5), ("broken", 3.4, 0.2), ("other", 2.6, -0.02)):
        loss = level + 4 * np.exp(-steps * TOKENS_A_STEP / 4e5) + effect * rise + rng.normal(0, 0.01, len(steps))
        for at, step in enumerate(steps):
            start = None if window is None or not len(np.flatnonzero(steps == window[0])) else steps == window[0]
            change = None if start is None else loss[at] - loss[start].item()
            rows.append(
                {"step": step, "tokens": step * TOKENS_A_STEP, "class": kind, "n_tokens": n_tokens[kind]}
                | _around("loss", loss[at], 0.03)
                | _around("change", change, 0.02)
            )
    return _columns(rows)


def _around(name, value, half):
    if value is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def _columns(rows):
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


SOURCE = (
    "def rows_of(table, model):\n"
    '\t"""Return the rows of a model, $by$ time; 中 is wide."""\n'
    "    frame = table.filter(table.model == model)\n"
    "    frame = frame.sort(frame.tokens, frame.layer)\n"
    "    return frame if len(frame) else None\n\n"
    "class ARatherLongNameOfAClassThatHoldsNothingButIsWiderThanAnyLineOfAPanelEverWillBe(Frame):\n"
    "    pass\n"
)
PIECES = [
    SOURCE[at : at + size] for at, size in zip(np.cumsum([0, *[3, 1, 4, 2] * 40]), [3, 1, 4, 2] * 40, strict=False)
]
PIECES = [piece for piece in PIECES if piece]


def _passages(model: Planted, steps, rng):
    if not len(steps):
        return {}
    before, after = _window_steps(model) or (steps[0], steps[-1])
    rows = [
        {
            "passage": passage,
            "example": 17 + passage,
            "index": 40 + at,
            "text": text,
            "class": ("other", "continued", "broken")[at % 3],
            "before": 3.0,
            "after": max(0.0, 3.0 + (0, -1.5, 1)[at % 3] + rng.normal(0, 0.5)),
            "step_before": before,
            "step_after": after,
        }
        for passage in range(2)
        for at, text in enumerate(PIECES[passage:])
    ]
    return _columns(rows)


def _window_steps(model: Planted):
    if model.window is None:
        return None
    tokens = STEPS * TOKENS_A_STEP
    start, end = model.window
    return int(STEPS[tokens <= start].max()), int(STEPS[tokens >= end].min())


def _at_end(steps):
    return {"step": steps[-1], "tokens": steps[-1] * TOKENS_A_STEP}


SHARES_AT = {25: 1.0, 100: 0.7, 150: 0.5}
"""By period, the prefix matching of a planted induction head as a share of that at 25."""


def _periods(model: Planted, steps):
    key, is_induction, _ = _each_head(model, steps[-1:])
    rows = [
        {**key, "period": period, "n_repeats": 4 if period < 150 else 3, "classifies": period == 25}
        | {"prefix_matching": np.where(is_induction, 0.8 * share, 0.02), "prefix_matching_se": 0.01}
        for period, share in SHARES_AT.items()
    ]
    names = list(rows[0])
    length = len(key["layer"])
    return {name: np.concatenate([np.broadcast_to(row[name], length) for row in rows]) for name in names}


def _compositions(model: Planted, steps, rng):
    if not len(steps):
        return {}
    kinds = planted_heads(model)
    rows = []
    for late in range(1, model.n_layers):
        for late_head, early, early_head in np.ndindex(model.n_heads, late, model.n_heads):
            through = (late, late_head) in kinds["induction"] and (early, early_head) in kinds["previous-token"]
            rows.append(
                _at_end(steps)
                | {"early_layer": early, "early_head": early_head, "late_layer": late, "late_head": late_head}
                | {"k": 0.2 * through + rng.normal(0, 0.01), "q": rng.normal(0, 0.01), "v": rng.normal(-0.01, 0.01)}
            )
    return _columns(rows)


def _idealised(model: Planted, steps, rng):
    if not len(steps):
        return {}
    once, twice = "[A][B]…[A]", "[A][B]…[A] and [A][B][C]…[A][B]"
    rows = []
    for kind, pattern, recovered in (
        ("previous-token", "previous token", 0.98),
        ("induction", once, 0.6),
        ("induction", twice, None if model.family == "smeared" else 0.7),
    ):
        heads = planted_heads(model)[kind]
        if heads:
            ideal = 2.5 + 0.2 * (1 - (recovered or 0.7))
            rows.append(
                _at_end(steps)
                | {"class": kind, "pattern": pattern, "heads": " ".join(f"{layer}.{head}" for layer, head in heads)}
                | _around("loss", 2.5, 0.02)
                | _around("loss_ideal", ideal, 0.02)
                | _around("loss_ablated", 2.7 if recovered else 2.5, 0.03)
                | _around("recovered", recovered, 0.05)
            )
    return _columns(rows)


def _pattern_tasks(model: Planted, steps, rng):
    if not len(steps):
        return {}
    key, is_induction, _ = _each_head(model, steps[-1:])
    little = rng.uniform(0, 0.03, len(is_induction))
    return key | {
        "same_label": 0.24 + little + 0.4 * is_induction,
        "same_label_se": 0.02,
        "same_line": 0.24 + little,
        "same_line_se": 0.01,
        "chance": 0.252,
        "on_labels": 0.1 + little + 0.3 * is_induction,
        "on_labels_se": 0.02,
        "n_lines": 28,
    }


N_SHOWN = 40
"""Tokens of the passage of a case study."""


def _case_studies(model: Planted, steps, rng):
    if not len(steps):
        return {}
    chosen = {kind: heads[0] for kind, heads in planted_heads(model).items() if heads}
    texts = ["<start>", *(PIECES * 2)[:N_SHOWN]]
    rows = []
    for kind, (layer, head) in {**chosen, "other": (0, 0)}.items():
        for query in range(1, N_SHOWN + 1):
            attention = rng.dirichlet(np.full(query + 1, 0.1))
            for key in range(query + 1):
                rows.append(
                    _at_end(steps)
                    | {"layer": layer, "head": head, "chosen": kind, "example": 17}
                    | {"query": query + 40, "query_text": texts[query], "key": key and key + 40, "key_text": texts[key]}
                    | {"attention": attention[key], "attribution": attention[key] * rng.normal(0.5, 1)}
                )
    return _columns(rows)


def _attributions(model: Planted, steps, rise, rng):
    if model.window is None:
        return {}
    taken = _ablated(steps)
    key, is_induction, _ = _each_head(model, steps[taken])
    rise = np.repeat(rise[taken], model.n_layers * model.n_heads)
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
    ends = [at in {0, n_rows - 1} for at in range(n_rows)]
    turns = {"turn": 20.0, "turn_low": 10.0, "turn_high": 30.0}
    return {
        "group": np.full(n_rows, "books" if model.family == "books" else "packages"),
        "model": np.full(n_rows, model.name),
        "step": steps,
        "tokens": tokens,
        "pc1": 20 * np.exp(-tokens / 1.2e6) - 8 * rise - model.n_layers + rng.normal(0, 0.1, n_rows),
        "pc2": 5 * (1 - np.exp(-tokens / 1e6)) - 9 * rise + model.n_layers + rng.normal(0, 0.1, n_rows),
        **{name: [None if end else size for end in ends] for name, size in turns.items()},
        "pc1_explained": np.full(n_rows, 0.71),
        "pc2_explained": np.full(n_rows, 0.16),
    }
