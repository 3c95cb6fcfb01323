"""Re-run, and go beyond, “In-context Learning and Induction Heads” (Olsson et al. 2022)."""

__version__ = "0.1.0"
