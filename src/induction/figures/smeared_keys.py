"""Smeared keys let a single layer form induction heads, and two layers form them earlier."""

from matplotlib.figure import Figure

from induction.figures import panels, theme
from induction.figures.inputs import FigureInputs

NEEDS = ("curves", "phases")


@theme.styled
def draw(inputs: FigureInputs) -> Figure:
    """Draw the ICL score over training: a row a variant (vanilla, smeared keys), a column a depth."""
    variants = list(dict.fromkeys(architecture.variant for architecture in inputs.architectures))
    depths = sorted({architecture.n_layers for architecture in inputs.architectures})
    width = theme.width_of(len(depths), narrow=2)
    figure, axes = theme.grid(
        len(variants), len(depths), width, row_height=1.2, share_y="all", time=inputs.settings.time
    )
    placed = {(architecture.variant, architecture.n_layers): architecture for architecture in inputs.architectures}
    for row, variant in enumerate(variants):
        axes[row, 0].set_ylabel(f"{variant}\nICL score (nats)")
        for column, depth in enumerate(depths):
            if architecture := placed.get((variant, depth)):
                panels.icl_score(axes[row, column], inputs, architecture)
                axes[0, column].set_title(architecture.depth)
            else:
                theme.note(axes[row, column], "not in\nthis study")
    theme.legend(figure, panels.icl_handles(inputs))
    return figure
