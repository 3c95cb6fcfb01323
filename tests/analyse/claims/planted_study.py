"""Studies whose models change where they are told to: tables as claims read them, with intervals and resamples.

A model's tables come from `grown`; those of several models are put together by `merged`, and `evidence` makes of them
what claims are judged by. Any table can also be given as rows (dictionaries): `filled` adds the columns left out.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from induction.analyse.claims.evidence import NEEDS, Evidence, Member, Settings
from induction.study.analysis import Bootstrap, Claims, Heads, Phases
from induction.study.config import ModelFields
from induction.study.evaluation import InContext
from induction.tables.repetitions import BROKEN, CONTINUED, OTHER
from induction.tables.schemas import TABLES

MILLION = 1e6
TOKENS_A_STEP = 2048
STEPS = np.arange(0, 4001, 100)
TOKENS = STEPS * float(TOKENS_A_STEP)
"""Training of 8.19 million tokens, with a snapshot every 0.2 million."""
N_RESAMPLES = 40
INDEX = np.arange(1, 513)
SETTINGS = Settings(
    heads=Heads(),
    in_context=InContext(),
    phases=Phases(),
    bootstrap=Bootstrap(n_resamples=N_RESAMPLES),
    claims=Claims(),
)
SIGNALS = ("icl", "prefix_matching", "previous_token", "loss")

Curve = Callable[[Any], Any]
Tables = dict[str, pl.DataFrame]
Rows = pl.DataFrame | Sequence[Mapping[str, Any]]


class Change(NamedTuple):
    """Where a signal changes, in tokens, and how far its interval reaches to each side."""

    start: float
    end: float
    spread: float = 0.1 * MILLION


def member(name: str, family: str = "attn", vocab_size: int = 1024, **fields: Any) -> Member:
    """Return a model, of two layers if nothing else is said."""
    named = {"name": name, "family": family, "label": family, "vocab_size": vocab_size}
    return Member(**named, fields=ModelFields(**{"batch_size": 4, "n_ctx": 512, **fields}))


def seeds(name: str, n: int, family: str = "attn", **fields: Any) -> list[Member]:
    """Return models that differ in nothing but their seed."""
    return [member(f"{name}-s{seed}", family, seed=seed, **fields) for seed in range(n)]


def evidence(models: Sequence[Member], tables: Mapping[str, Rows], settings: Settings = SETTINGS) -> Evidence:
    """Return what claims are judged by; a table that is not given is empty."""
    given = {
        name: rows if isinstance(rows, pl.DataFrame) else filled(name, rows)
        for name, rows in tables.items()
        if len(rows)
    }
    return Evidence(tuple(models), settings, {name: given.get(name, TABLES[name].empty()) for name in NEEDS})


def merged(*tables: Mapping[str, Rows]) -> Tables:
    """Put the tables of several models together."""
    frames: dict[str, list[pl.DataFrame]] = {}
    for given in tables:
        for name, rows in given.items():
            frames.setdefault(name, []).append(rows if isinstance(rows, pl.DataFrame) else filled(name, rows))
    return {name: pl.concat(parts, how="vertical_relaxed") for name, parts in frames.items()}


def filled(table: str, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return rows of a table, with `model`; a column left out holds 0, "", false, an array of one 0, or nothing where
    nothing is permitted.
    """
    blank = {"string": "", "bool": False, "float32[]": [0.0]}
    kinds = {"string": pl.String, "bool": pl.Boolean, "int16": pl.Int16, "int64": pl.Int64}
    kinds |= {"float32": pl.Float32, "float64": pl.Float64}
    columns = {
        column.name: [row.get(column.name, None if column.nullable else blank.get(column.kind, 0)) for row in rows]
        for column in TABLES[table].columns
    }
    for row in rows:
        if unknown := set(row) - set(columns) - {"model"}:
            raise KeyError(f"table {table} has no {unknown}")
    frame = pl.DataFrame(
        {
            column.name: pl.Series(columns[column.name], dtype=kinds[column.kind])
            if column.kind in kinds
            else pl.Series(np.array(columns[column.name], dtype=np.float32))
            for column in TABLES[table].columns
        }
    )
    if not TABLES[table].partitioned:
        return frame
    return frame.with_columns(pl.Series("model", [row["model"] for row in rows], dtype=pl.String))


def fall(start: float, end: float, size: float) -> Curve:
    """Fall by `size`, nine tenths of it between `start` and `end`; a negative size rises."""
    scale = (end - start) / 2 / np.log(19)
    return lambda tokens: -size / (1 + np.exp(-(tokens - (start + end) / 2) / scale))


def power_law(tokens: Any) -> Any:
    """Return a convex loss."""
    return 2.2 + 4.7 * (1 + tokens / 6e4) ** -0.45


def grown(
    model: Member,
    changes: Mapping[str, Change | tuple[float, float]] | None = None,
    *,
    icl: Curve | None = None,
    loss: Curve | None = None,
    prefix_matching: Curve | None = None,
    previous_token: Curve | None = None,
    loss_by_index: np.ndarray | None = None,
    heads: Sequence[Mapping[str, Any]] = (),
    steps: np.ndarray = STEPS,
    noise: float = 0.02,
    own_noise: float = 0.002,
    why_none: str = "changes by 0.010 where it is fastest; 0.12 is needed",
) -> Tables:
    """Return the tables curves, replicates, phases, onsets and heads of a model.

    Args:
        model: the model.
        changes: signal -> where it changes; one that is not named has no window.
        icl: windowed ICL score over tokens; default: -0.05, and a fall by 0.35 where `icl` changes.
        loss: default: a power law, and a fall by 0.4 where `loss` changes.
        prefix_matching: the best head's; default: 0.02, and a rise by 0.6 where it changes.
        previous_token: likewise.
        loss_by_index: [snapshot, index]; default: the loss, tilted so that its ICL score is `icl`.
        heads: rows of table heads at the last snapshot; `layer` and `head` and the scores that are not 0.
        steps: the snapshots.
        noise: deviation, in nats, that a resample has in common in all models and snapshots.
        own_noise: that of each model and snapshot.
        why_none: reason that table phases has for a signal without a window.
    """
    placed = {signal: Change(*change) for signal, change in (changes or {}).items()}
    tokens = steps * float(model.fields.tokens_per_step)

    def curve(signal: str, given: Curve | None, base: Curve, size: float) -> np.ndarray:
        if given is not None:
            return np.asarray(given(tokens), dtype=np.float64) * np.ones(len(tokens))
        values = base(tokens) * np.ones(len(tokens))
        return values + fall(*placed[signal][:2], size)(tokens) if signal in placed else values

    icl_S = curve("icl", icl, lambda _: -0.05, 0.35)
    loss_S = curve("loss", loss, power_law, 0.4)
    prefix_S = curve("prefix_matching", prefix_matching, lambda _: 0.02, -0.6)
    previous_S = curve("previous_token", previous_token, lambda _: 0.02, -0.6)
    if loss_by_index is None:
        loss_by_index = loss_S[:, None] + icl_S[:, None] * (INDEX - INDEX.mean()) / 450
    past_early = loss_by_index[:, 49:]
    replicated = {
        "loss": loss_S,
        "icl_windowed": icl_S,
        "late_slope": np.polyfit(np.log(INDEX[49:]), past_early.T, 1)[0],
        "loss_at_ten": loss_by_index[:, 7:12].mean(axis=1),
        "loss_late": loss_by_index[:, 489:510].mean(axis=1),
    }
    at = {
        "model": [model.name] * len(steps),
        "step": steps.tolist(),
        "tokens": (steps * model.fields.tokens_per_step).tolist(),
    }
    curves = filled("curves", [{"model": model.name, "step": step} for step in steps.tolist()]).with_columns(
        pl.Series("tokens", at["tokens"]),
        *(
            pl.Series(f"{name}{end}", values + shift)
            for name, values in (("loss", loss_S), ("mean_loss", loss_S), ("icl_score", icl_S), ("icl_windowed", icl_S))
            for end, shift in (("", 0.0), ("_low", -0.04), ("_high", 0.04))
        ),
        pl.Series("best_prefix_matching", prefix_S),
        pl.Series("best_previous_token", previous_S),
        pl.Series("loss_by_index", loss_by_index.astype(np.float32)),
    )
    replicates = pl.DataFrame(at).with_columns(
        pl.Series(name, (values[:, None] + _noise(model, name, len(steps), noise, own_noise)).astype(np.float32))
        for name, values in replicated.items()
    )
    windows = [phase(model, signal, placed.get(signal), tokens, why_none) for signal in SIGNALS]
    last = {"model": model.name, "step": int(steps[-1]), "tokens": int(tokens[-1])}
    return {
        "curves": curves,
        "replicates": replicates.select(*TABLES["replicates"].empty().columns),
        "phases": filled("phases", windows),
        "onsets": filled("onsets", [row for signal in placed for row in onsets(model, signal, placed[signal], tokens)]),
        "heads": filled("heads", [last | dict(row) for row in heads]),
    }


def phase(model: Member, signal: str, change: Change | None, tokens: np.ndarray, why_none: str) -> dict[str, Any]:
    """Return a row of table phases."""
    if change is None:
        return {"model": model.name, "signal": signal, "found": False, "reason": why_none}
    places = {"start": change.start, "midpoint": (change.start + change.end) / 2, "end": change.end}
    row: dict[str, Any] = {"model": model.name, "signal": signal, "found": True, "support": 1.0, "reason": "planted"}
    for place, value in places.items():
        row |= {f"{place}_tokens": value}
        row |= {f"{place}_tokens_low": value - change.spread, f"{place}_tokens_high": value + change.spread}
    start = tokens[np.searchsorted(tokens, change.start, side="right") - 1]
    end = tokens[np.searchsorted(tokens, change.end)]
    return row | {
        "start_step": int(start / model.fields.tokens_per_step),
        "end_step": int(end / model.fields.tokens_per_step),
        "change": -0.3,
    }


def onsets(model: Member, signal: str, change: Change, tokens: np.ndarray) -> list[dict[str, Any]]:
    """Return rows of table onsets: in each resample the window is moved as a whole, by up to its spread."""
    shifts = np.random.default_rng(_number(model.name, signal)).uniform(-change.spread, change.spread, N_RESAMPLES)
    starts = change.start + shifts
    after = np.searchsorted(tokens, starts, side="right")
    return [
        {
            "model": model.name,
            "signal": signal,
            "resample": resample,
            "start_tokens": start,
            "midpoint_tokens": (change.start + change.end) / 2 + shift,
            "end_tokens": change.end + shift,
            "before_tokens": tokens[place - 1],
            "after_tokens": tokens[place],
        }
        for resample, (start, shift, place) in enumerate(zip(starts, shifts, after, strict=True))
    ]


def turns(
    model: Member, sharp: Mapping[int, tuple[float, float, float]], steps: np.ndarray = STEPS
) -> dict[str, list[dict[str, Any]]]:
    """Return table pca of a model; `sharp` has lower end, turn and upper end of snapshots, by step; others turn by 5."""
    rows = []
    for at, step in enumerate(steps.tolist()):
        low, turn, high = sharp.get(step, (2.0, 5.0, 8.0))
        inside = 0 < at < len(steps) - 1
        turned = {"turn": turn, "turn_low": low, "turn_high": high} if inside else {}
        place = {"step": step, "tokens": step * model.fields.tokens_per_step, "pc1": float(at), "group": "all"}
        rows.append({"model": model.name, **place, **turned})
    return {"pca": rows}


def repetitions(
    model: Member, window: Change | tuple[float, float] | None, steps: np.ndarray = STEPS, **changes: tuple
) -> dict[str, list[dict[str, Any]]]:
    """Return table repetitions: each class's loss changes linearly inside the window.

    Args:
        model: the model.
        window: its window of in-context learning, or none.
        steps: the snapshots.
        changes: class -> change over the window and half its interval's width, nats.
    """
    rows = []
    tokens = steps * float(model.fields.tokens_per_step)
    for name in (OTHER, CONTINUED, BROKEN):
        size, half = changes.get(name, (0.0, 0.01))
        for step, now in zip(steps.tolist(), tokens, strict=True):
            row = {"model": model.name, "step": step, "tokens": int(now), "class": name, "n_tokens": 100}
            progress = 0.0
            if window is not None:
                begin = tokens[np.searchsorted(tokens, window[0], side="right") - 1]
                end = tokens[np.searchsorted(tokens, window[1])]
                progress = float(np.clip((now - begin) / (end - begin), 0, 1))
                change = size * progress
                row |= {"change": change, "change_low": change - half, "change_high": change + half}
            loss = 4 + size * progress
            rows.append(row | {"loss": loss, "loss_low": loss - half, "loss_high": loss + half})
    return {"repetitions": rows}


def _noise(model: Member, column: str, n_snapshots: int, shared: float, own: float) -> np.ndarray:
    """Return the noise of every snapshot and resample, [S, R]; the resamples' own mean is 0."""
    common_R = np.random.default_rng(_number(column)).standard_normal(N_RESAMPLES)
    own_SR = np.random.default_rng(_number(model.name, column)).standard_normal((n_snapshots, N_RESAMPLES))
    return shared * (common_R - common_R.mean()) + own * (own_SR - own_SR.mean(axis=1, keepdims=True))


def _number(*words: str) -> int:
    return zlib.crc32(" ".join(words).encode())
