"""Measurements: pure functions of a model and tokens, which never learn how the model was trained."""
