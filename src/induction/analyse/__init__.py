"""From tables to curves, phase changes, attributions and components. Never imports torch."""
