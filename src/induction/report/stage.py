"""The stage that writes the study's report."""

from pathlib import Path
from typing import Any

import polars as pl

from induction.errors import InductionError, nearest
from induction.files import replacing
from induction.report.content import Content
from induction.report.page import rendered
from induction.report.pictures import caption_of, drawing_of, picture_of
from induction.report.provenance import provenance
from induction.report.scatters import scores_of_heads, ways
from induction.report.verdicts import read_claims, read_orders
from induction.report.viewer import passages
from induction.study.reading import validate
from induction.tables.manifests import read_manifest
from induction.tables.schemas import TABLES
from induction.tables.table import table_of

_READ = {
    "heads": None,
    "case_studies": None,
    "pca": None,
    "phases": None,
    "curves": ["model", "step", "loss", "icl_windowed"],  # Its arrays are of different lengths.
}
"""Tables that are read, and their columns; None: all."""


def report(content: dict[str, Any], out: Path) -> None:
    """Write the report: one HTML file that needs no other and no network; the same inputs give the same bytes.

    Args:
        content: an object with the fields of `content.Content`.
        out: where to.

    Raises:
        InductionError: the content is not as it should be, or a file that it names is missing or damaged.
    """
    told = validate(content, Content, "content of the report")
    tables = _read_tables(told.tables)
    caption = told.page_caption
    html = rendered(
        told,
        claims=read_claims(told.claims),
        orders=read_orders(told.orders),
        pictures=[picture_of(figure) for figure in told.figures],
        page_caption=caption_of("model_page", caption.path, caption.counts)[1] if caption else None,
        pages=[(one.model, drawing_of(one.svg)) for one in told.pages],
        passages=passages(tables["case_studies"]),
        ways=ways(tables["pca"], tables["phases"], tables["curves"], told.models),
        scores=scores_of_heads(tables["heads"], told.heads),
        corpora=[read_manifest(path) for path in told.manifests],
        provenance=provenance([*told.tables, told.claims, told.orders], [*_hashed(told)]),
    )
    with replacing(out) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _read_tables(paths: tuple[Path, ...]) -> dict[str, pl.DataFrame]:
    """Read the tables of `_READ`; one of which no part is given is empty."""
    parts: dict[str, list[Path]] = {}
    for path in paths:
        name = table_of(path)
        if name not in TABLES:
            raise InductionError(
                f"{path}: no table is called {name}. Permitted: {', '.join(TABLES)}.{nearest(name, TABLES)}"
            )
        parts.setdefault(name, []).append(path)
    return {
        name: TABLES[name].read(parts[name], columns) if name in parts else TABLES[name].empty()
        for name, columns in _READ.items()
    }


def _hashed(told: Content) -> list[Path]:
    return [told.claims, told.orders, *(path for path in told.tables if table_of(path) == "pca"), *told.manifests]
