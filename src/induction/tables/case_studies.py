"""The table `case_studies`: where chosen heads look in a passage, and what they raise."""

from induction.tables.columns import HEAD, LAYER, STEP, TOKENS
from induction.tables.table import Column, Table

CASE_STUDIES = Table(
    name="case_studies",
    row="a query and a key of a chosen head on a passage of real text, in a model's last snapshot",
    key=("model", "step", "layer", "head", "query", "key"),
    columns=(
        STEP,
        TOKENS,
        LAYER,
        HEAD,
        Column("chosen", "string", "Why this head: induction, previous-token or other (the best of its class)."),
        Column("example", "int64", "Evaluation example that the passage is cut from, counted from 0.", low=0),
        Column(
            "query", "int64", "Index of the token that looks, counted from 1; the token after it is predicted.", low=1
        ),
        Column("query_text", "string", "Text of the query."),
        Column("key", "int64", "Index of the token that is looked at, counted from 1; 0: the start token.", low=0),
        Column("key_text", "string", "Text of the key."),
        Column("attention", "float32", "The head's attention from query to key.", 0, 1.0001),
        Column(
            "attribution",
            "float32",
            "What the head adds through this key to the logit of the token after the query, less the mean logit.",
        ),
    ),
)
