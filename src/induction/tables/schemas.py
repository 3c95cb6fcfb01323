"""Every table of the workflow, by name. Losses are in nats, `tokens` is training tokens seen, token indices 1-based."""

from induction.tables.ablations import ABLATIONS, SET_ABLATIONS
from induction.tables.attributions import ATTRIBUTIONS
from induction.tables.case_studies import CASE_STUDIES
from induction.tables.claims import CLAIMS, ORDERS
from induction.tables.compositions import COMPOSITIONS
from induction.tables.curves import CURVES
from induction.tables.heads import HEADS
from induction.tables.idealised import IDEALISED
from induction.tables.losses import LOSSES
from induction.tables.pattern_tasks import PATTERN_TASKS
from induction.tables.pca import PCA
from induction.tables.periods import PERIODS
from induction.tables.phases import ONSETS, PHASES
from induction.tables.repetitions import PASSAGES, REPETITIONS
from induction.tables.replicates import REPLICATES
from induction.tables.training import TRAINING
from induction.tables.window_rules import WINDOW_RULES

TABLES = {
    table.name: table
    for table in (
        TRAINING,
        LOSSES,
        HEADS,
        ABLATIONS,
        SET_ABLATIONS,
        IDEALISED,
        COMPOSITIONS,
        PERIODS,
        PATTERN_TASKS,
        CASE_STUDIES,
        CURVES,
        REPLICATES,
        PHASES,
        ONSETS,
        WINDOW_RULES,
        ATTRIBUTIONS,
        REPETITIONS,
        PASSAGES,
        PCA,
        CLAIMS,
        ORDERS,
    )
}
