"""The study: what is trained, when it is measured, and what each job depends on. Never imports torch."""
