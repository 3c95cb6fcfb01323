"""What an engine is: one step of training, and all that it takes to go on from it.

The loop knows engines by this interface alone: the plain one (`train/plain.py`) trains in one process, the other
(`train/zero.py`) over many by DeepSpeed. What an engine keeps is by the names of weights, so that one goes on from
what another has written, on whatever number of ranks.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from induction.models.transformer import Transformer
from induction.train.optimizers import MOMENTS, trained_by

Seen = TypeVar("Seen")


class StepResult(NamedTuple):
    """The loss of a step's batch in nats, before the step, and the norm of the whole gradient, before clipping."""

    loss: float
    gradient_norm: float


class Engine(Protocol):
    """Trains one model; holds its weights and its optimizers' moments. Every rank makes the same calls."""

    def share(self, batch_size: int) -> NDArray[np.int64]:
        """Return which sequences of a batch this rank reads, in its order, [sequence].

        Raises:
            InductionError: the batch cannot be shared out evenly.
        """
        ...

    def step(self, tokens_BT: Tensor, rate: float, weight_decay: float) -> StepResult:
        """Take one step on this rank's sequences of n_ctx + 1 tokens, at a share `rate` of the peak learning rates."""
        ...

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights, by name."""
        ...

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights one by one in the order of their names: whole, float32."""
        ...

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what `state` yields, by name."""
        ...

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield weights and moments one by one in the order of their names: whole, float32."""
        ...

    def load_state(self, state: Mapping[str, Tensor], n_steps: int) -> None:
        """Go on from a state after `n_steps` steps; its tensors are read one at a time."""
        ...

    def look(self, at: Callable[[Transformer], Seen]) -> Seen:
        """Call a function with the model as it is, gradients off; it may run the model, on every rank alike."""
        ...


def kept_in_state(shapes: Mapping[str, tuple[int, ...]], settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (what, weight) of everything in a state, in its order: the weights themselves, and their moments.

    Args:
        shapes: of the weights, by name.
        settings: the recipe's settings, which say what trains them.
    """
    kept = [("weights", name) for name in shapes]
    kept += [(moment, name) for name in shapes for moment in MOMENTS[trained_by(name, shapes[name], settings)]]
    return sorted(kept, key=".".join)
