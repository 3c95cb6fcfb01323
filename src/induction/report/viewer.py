"""What the viewer of attention patterns is given: chosen heads on a passage, from table `case_studies`."""

from typing import Any

import polars as pl

_STRONG = 0.99
"""The shades reach as far as this share of a head's attributions; stronger ones have the last shade."""
_DIGITS = 4


def passages(case_studies: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the models of table `case_studies` with their heads and the passage that these read.

    Returns:
        For each model its `name` and `heads`; for each head `layer`, `head`, `chosen`, `tokens` (the start token and
        those of the passage), `index` of each in its example, `attention` and `attribution` [token, tokens up to it]
        (none of the start token) and `strong`, the size of attribution that has the last shade.
    """
    models: dict[str, list[dict[str, Any]]] = {}
    order = ["model", "layer", "head", "query", "key"]
    heads = case_studies.sort(order).partition_by("model", "layer", "head", as_dict=True, maintain_order=True)
    for (model, layer, head), rows in heads.items():
        by_query = rows.partition_by("query", maintain_order=True)
        of_start = rows.filter(key=0)["key_text"].to_list()[:1]
        strong = rows["attribution"].abs().quantile(_STRONG, "lower") or 0.0
        models.setdefault(model, []).append(
            {
                "layer": layer,
                "head": head,
                "chosen": rows["chosen"][0],
                "example": rows["example"][0],
                "tokens": [*of_start, *(query["query_text"][0] for query in by_query)],
                "index": [*[0 for _ in of_start], *(query["query"][0] for query in by_query)],
                "attention": _by_key(by_query, "attention"),
                "attribution": _by_key(by_query, "attribution"),
                "strong": _short(strong),
            }
        )
    return [{"name": name, "heads": found} for name, found in models.items()]


def _by_key(by_query: list[pl.DataFrame], column: str) -> list[list[float]]:
    return [[_short(value) for value in query[column].to_list()] for query in by_query]


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
