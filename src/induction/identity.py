"""The identity of the job that this process runs: what its settings, and those of all jobs upstream, amount to.

`induction.study.jobs` computes it, the workflow hands it to the command, and every file that the job writes carries it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_IDENTITY: ContextVar[str] = ContextVar("identity", default="")


def job_identity() -> str:
    """Return the identity of the running job; empty where nobody gave one, as in a stage that was called by hand."""
    return _IDENTITY.get()


@contextmanager
def running_as(identity: str) -> Iterator[None]:
    """Let files that are written inside carry `identity`."""
    token = _IDENTITY.set(identity)
    try:
        yield
    finally:
        _IDENTITY.reset(token)
