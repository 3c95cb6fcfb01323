"""The stage that judges every claim, and estimates the order of the signals."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from induction.analyse.claims import ablated, controls, formation, scale, scores, smeared, together, tokens
from induction.analyse.claims.evidence import NEEDS, Evidence, Member, Settings
from induction.analyse.claims.judging import Judgement, NotTestableError, summed_up, weighed
from induction.analyse.claims.orders import orders
from induction.analyse.claims.people import as_markdown
from induction.analyse.claims.registry import CLAIMS as REGISTRY
from induction.analyse.claims.registry import COMMON_RULE, Claim
from induction.artefacts.origins import provenance_of
from induction.errors import InductionError
from induction.files import replacing
from induction.study.reading import validate
from induction.study.strict import Strict
from induction.tables.claims import ALL, CLAIMS, INCONCLUSIVE, ORDERS
from induction.tables.schemas import TABLES
from induction.tables.table import table_of

JUDGES: dict[int, Callable[[Evidence], Sequence[Judgement]]] = {
    1: formation.abrupt,
    2: formation.constant_after,
    3: formation.inside_window,
    4: formation.one_layer,
    5: formation.at_paper_tokens,
    6: together.prefix_matching,
    7: together.bump,
    8: together.departure,
    9: together.pivot,
    10: controls.schedule,
    11: controls.corpus,
    12: formation.slope,
    13: tokens.repetitions,
    14: smeared.one_layer,
    15: smeared.earlier,
    16: ablated.from_induction_heads,
    17: ablated.others_raise,
    18: ablated.extreme,
    19: ablated.with_mlps,
    20: scores.abstract_task,
    21: scores.weights,
    22: scores.copies,
    23: scores.layers,
    24: scale.final_score,
    25: scale.first_tokens,
    26: scale.order_flips,
    27: scores.anti_copying,
    28: ablated.idealised,
    29: scale.signature,
}
"""Claim -> the function that judges it; each raises NotTestableError, or returns a judgement for each subject."""


class _Models(Strict):
    models: tuple[Member, ...]


def claims(
    tables: Sequence[Path], models: list[Any], settings: dict[str, Any], out: Path, orders_out: Path, people_out: Path
) -> None:
    """Judge every claim; write tables `claims` and `orders`, and the claims as a table for people.

    Args:
        tables: parts of the tables in `evidence.NEEDS`; a table without any part counts as empty.
        models: the study's models: objects with the fields of `Member`.
        settings: the parts of the configuration in `evidence.Settings`.
        out: where table claims goes.
        orders_out: where table orders goes.
        people_out: where the table for people goes, Markdown.

    Raises:
        InductionError: models, settings or a part are not as they should be.
    """
    members = validate({"models": models}, _Models, "models of the claims").models
    if not members:
        raise InductionError("claims: the study has no models")
    evidence = Evidence(members, validate(settings, Settings, "settings of the claims"), read_tables(tables))
    found = judge_all(evidence)
    provenance = {"models": json.dumps([model.name for model in members])}
    rows = [
        stated(REGISTRY[number]) | _row(judgement) for number, judgements in found.items() for judgement in judgements
    ]
    CLAIMS.write(out, {name: [row[name] for row in rows] for name in rows[0]}, **provenance)
    with replacing(people_out) as temporary:
        temporary.write_text(as_markdown(rows) + "\n", encoding="utf-8")
    ordered = orders(evidence)
    with ORDERS.writer(orders_out, **provenance) as table:
        if ordered:
            table.append({name: [row[name] for row in ordered] for name in ordered[0]})


def judge_all(evidence: Evidence) -> dict[int, list[Judgement]]:
    """Return the judgements of every claim by number, the one of all subjects first."""
    settings = evidence.settings
    wholes, subjects = {}, {}
    for number in REGISTRY:
        try:
            subjects[number] = list(JUDGES[number](evidence))
            wholes[number] = summed_up(subjects[number], settings.phases.min_support)
        except NotTestableError as error:
            subjects[number] = []
            wholes[number] = Judgement(ALL, "", None, INCONCLUSIVE, str(error), n_seeds=0)
    judged = weighed(list(wholes.values()), settings.claims.max_chance, "claims of co-occurrence")
    return {number: [whole, *subjects[number]] for number, whole in zip(wholes, judged, strict=True)}


def stated(claim: Claim) -> dict[str, Any]:
    """Return the columns of table `claims` that say what a claim is and how it is judged."""
    return {
        "claim": claim.number,
        "statement": claim.statement,
        "paper": claim.paper,
        "rule": claim.rule,
        "common_rule": COMMON_RULE,
        "amended": claim.amended,
    }


def read_tables(paths: Sequence[Path]) -> dict[str, pl.DataFrame]:
    """Read the tables that claims need, by name; one of which no part is given is empty.

    Raises:
        InductionError: a part is missing, truncated or of another table, or parts are not of one evaluation set.
    """
    parts: dict[str, list[Path]] = {name: [] for name in NEEDS}
    for path in paths:
        if (name := table_of(path)) in parts:
            parts[name].append(path)
    read = {name: TABLES[name].read(given) if given else TABLES[name].empty() for name, given in parts.items()}
    by_model: dict[str, list[Path]] = {}
    for name, given in parts.items():
        for path in given if TABLES[name].partitioned else ():
            by_model.setdefault(path.parent.name, []).append(path)
    for given in by_model.values():
        provenance_of(given)
    return read


def _row(judgement: Judgement) -> dict[str, Any]:
    estimate = judgement.estimate
    return {
        "subject": judgement.subject,
        "n_seeds": estimate.n_seeds if estimate else judgement.n_seeds,
        "quantity": judgement.quantity,
        "estimate": estimate and estimate.value,
        "estimate_low": estimate and estimate.low,
        "estimate_high": estimate and estimate.high,
        "interval_over": estimate.over if estimate else "none",
        "chance": judgement.chance,
        "chance_adjusted": judgement.chance_adjusted,
        "window_support": judgement.window_support,
        "verdict": judgement.verdict,
        "reason": judgement.reason,
    }
