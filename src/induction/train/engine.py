"""What an engine is: one step of training, and all that it takes to go on from it.

The loop knows engines by this interface alone; the plain one is `train/plain.py`.
"""

from typing import NamedTuple, Protocol

from torch import Tensor


class StepResult(NamedTuple):
    """The loss of a step's batch in nats, before the step, and the norm of the whole gradient, before clipping."""

    loss: float
    gradient_norm: float


class Engine(Protocol):
    """Trains one model; holds its weights and its optimizers' moments."""

    def step(self, tokens_BT: Tensor, rate: float) -> StepResult:
        """Take one step on sequences of n_ctx + 1 tokens, at the share `rate` of the peak learning rates."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """Return the whole weights, float32, by name."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return weights and moments, by name: what `load_state` goes on from."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from a state."""
        ...
