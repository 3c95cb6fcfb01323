"""What training says while it runs: a bar in a terminal, plain lines elsewhere, and `progress.jsonl` for the watchers.

`progress.jsonl` lies in the model's folder, a line now and then, so that the login node of a cluster sees how far a
job on another machine has come. A line that a resumed block writes again supersedes the one before it.
"""

import json
import sys
import time
from pathlib import Path

from tqdm import tqdm

_PLAIN_LINE_SECONDS = 15.0
PROGRESS = "progress.jsonl"


class Reporter:
    """Tells of one block of training.

    Args:
        manifest: of the block; its folder is the model's.
        first: the step that this job goes on from.
        last: the block's last step.
        speaks: whether this is the rank that tells.
    """

    def __init__(self, manifest: Path, first: int, last: int, *, speaks: bool = True) -> None:
        self._name, self._first, self._last, self._speaks = manifest.stem, first, last, speaks
        self._path = manifest.parent / PROGRESS
        hidden = not speaks or not sys.stderr.isatty()
        self._bar = tqdm(total=last, initial=first, desc=self._name, unit="step", disable=hidden)
        self._began = self._spoke = time.monotonic()

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, step: int, tokens: int, loss: float, speed: float, seen: dict[str, float] | None) -> None:
        """Say where training is.

        Args:
            step: steps taken.
            tokens: training tokens read.
            loss: of the step, nats.
            speed: tokens a second.
            seen: what a look at the model has shown, where there was one.
        """
        if not self._speaks:
            return
        if not self._bar.disable:
            self._bar.set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tokens/s", refresh=False)
            self._bar.update(1)
        due = step == self._last or time.monotonic() - self._spoke > _PLAIN_LINE_SECONDS
        if not due and not seen:
            return
        row = {"block": self._name, "step": step, "last": self._last, "tokens": tokens, "loss": loss}
        row |= {"tokens_per_second": speed, "time": time.time(), **(seen or {})}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if due and self._bar.disable:
            left = (time.monotonic() - self._began) / (step - self._first) * (self._last - step)
            place = f"{self._name}: step {step}/{self._last}"
            print(f"{place}, loss {loss:.3f}, {speed:,.0f} tokens/s, {left:.0f} s left", file=sys.stderr, flush=True)
        if due:
            self._spoke = time.monotonic()
