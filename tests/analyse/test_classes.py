"""Classes of heads at the thresholds' edges."""

import polars as pl

from induction.study.analysis import Heads
from induction.tables.classes import head_classes


def test_classes_are_taken_at_each_models_final_snapshot():
    rows = [
        # model, step, head, prefix_matching, copying, previous_token
        ("a", 0, 0, 0.9, 0.9, 0.9),  # not the final snapshot
        ("a", 5, 0, 0.3, 0.1, 0.9),  # at the threshold; induction comes before previous-token
        ("a", 5, 1, 0.9, 0.0, 0.3),  # copying must be above its threshold
        ("a", 5, 2, 0.9, -0.5, 0.29),
        ("b", 3, 0, 0.29, 0.9, 0.1),
    ]
    names = ["model", "step", "head", "prefix_matching", "copying", "previous_token"]
    heads = pl.DataFrame(rows, names, orient="row").with_columns(layer=0)
    thresholds = Heads(induction_prefix_matching=0.3, induction_copying=0.0, previous_token=0.3)
    assert head_classes(heads, thresholds).select("model", "head", "class").rows() == [
        ("a", 0, "induction"),
        ("a", 1, "previous-token"),
        ("a", 2, "other"),
        ("b", 0, "other"),
    ]
