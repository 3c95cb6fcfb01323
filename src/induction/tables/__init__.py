"""The tables: declared once, written and read through one module. Never imports torch."""
