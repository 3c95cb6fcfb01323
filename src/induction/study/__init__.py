"""The study: what is trained, when it is measured, and what each job depends on. Never imports torch."""

from induction.study.jobs import Jobs
from induction.study.study import Model, Study, load_study

__all__ = ["Jobs", "Model", "Study", "load_study"]
