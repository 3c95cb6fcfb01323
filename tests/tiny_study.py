"""How tiny models are measured in tests that run the whole workflow, or reckon with it: contexts of 128 tokens."""

MEASURED = {
    "description": "tiny",
    "evaluation": {"n_examples": 24, "n_tokens": 128},
    "probes": {"n_sequences": 4, "period": 12, "other_periods": [20, 40], "n_examples": 4},
    "in_context": {"early": 8, "late": 60, "early_window": [6, 10], "late_window": [56, 64]},
    "ablations": {"n_examples": 12, "every": 3},
    "idealised": {"n_examples": 12},
    "repetitions": {"passage_tokens": 32},
    "case_studies": {"n_tokens": 16},
}
