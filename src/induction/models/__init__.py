"""The one transformer, and the files its weights lie in."""
