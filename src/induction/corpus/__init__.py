"""Text into tokens: sources, tokenizer, shards, the evaluation set and the probes. Never imports torch."""
