"""Every table of the workflow, by name. Losses are in nats, `tokens` is training tokens seen, token indices 1-based."""

from induction.tables.ablations import ABLATIONS
from induction.tables.attributions import ATTRIBUTIONS
from induction.tables.curves import CURVES
from induction.tables.heads import HEADS
from induction.tables.losses import LOSSES
from induction.tables.pca import PCA
from induction.tables.phases import PHASES
from induction.tables.training import TRAINING

TABLES = {table.name: table for table in (TRAINING, LOSSES, HEADS, ABLATIONS, CURVES, PHASES, ATTRIBUTIONS, PCA)}
