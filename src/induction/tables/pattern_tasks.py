"""The table `pattern_tasks`: which heads find the earlier lines of the same kind, in the abstract task."""

from induction.tables.columns import HEAD, LAYER, STEP, TOKENS, with_error
from induction.tables.table import Column, Table

PATTERN_TASKS = Table(
    name="pattern_tasks",
    row="a head, in a model's last snapshot",
    key=("model", "step", "layer", "head"),
    columns=(
        STEP,
        TOKENS,
        LAYER,
        HEAD,
        *with_error(
            "same_label",
            "Of the attention from a colon to labels of earlier lines, the share on lines of the same kind.",
            0,
            1.0001,
        ),
        *with_error(
            "same_line",
            "Of the attention from a colon to earlier lines as a whole, the share on lines of the same kind.",
            0,
            1.0001,
        ),
        Column("chance", "float32", "What even attention to the earlier labels would give same_label.", 0, 1.0001),
        *with_error("on_labels", "Attention from a colon to labels of earlier lines.", 0, 1.0001),
        Column("n_lines", "int16", "Lines of a prompt.", low=1),
    ),
)
