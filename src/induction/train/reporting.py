"""What training says while it runs: a bar in a terminal, plain lines elsewhere, and `progress.jsonl` for the watchers.

`progress.jsonl` lies in the model's folder, a line now and then, so that the login node of a cluster sees how far a
job on another machine has come. Every line holds the last look at the model, too. A line that a resumed block writes
again supersedes the one before it.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from induction.models.transformer import Transformer
from induction.places import PROGRESS
from induction.tables.progress import progress_rows

_PLAIN_LINE_SECONDS = 15.0

Look = Mapping[str, float]
"""What a look at a model has shown, by name; once it is noted also `step` and `tokens`."""


class Watch(Protocol):
    """Looks at a model while it trains; changes nothing. `induction.measure` has one."""

    @property
    def every(self) -> int:
        """Steps from one look to the next."""
        ...

    def look(self, model: Transformer) -> dict[str, float]:
        """Return what is seen, by name; on every rank alike, gradients off."""
        ...

    def told(self, look: Look) -> str:
        """Return the gist of a look, in words."""
        ...

    def phase_change(self, looks: Sequence[Look]) -> tuple[str, Look | None]:
        """Return whether the phase change has been seen by now, in a word or two, and the look since which."""
        ...


class Reporter:
    """Tells of one block of training.

    Args:
        manifest: of the block; its folder is the model's.
        first: the step that this job goes on from.
        last: the block's last step.
        speaks: whether this is the rank that tells.
        watch: what looks at the model, if anything does.
    """

    def __init__(
        self, manifest: Path, first: int, last: int, *, speaks: bool = True, watch: Watch | None = None
    ) -> None:
        self._name, self._first, self._last, self._speaks, self._watch = manifest.stem, first, last, speaks, watch
        self._path = manifest.parent / PROGRESS
        earlier = _looks_until(first, self._path) if speaks else []
        self._looks = [look for look in earlier if watch is None or _is_of(watch, look)]
        self._unwritten = False
        self._state = watch.phase_change(self._looks)[0] if watch else None
        if speaks and not first:
            self._path.unlink(missing_ok=True)  # of an earlier training
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
        if seen:
            self._note({"step": step, "tokens": tokens, **seen})
        look = self._looks[-1] if self._looks else None
        gist = f", {self._watch.told(look)}" if self._watch and look else ""
        if not self._bar.disable:
            self._bar.set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tokens/s{gist}", refresh=False)
            self._bar.update(1)
        due = step == self._last or time.monotonic() - self._spoke > _PLAIN_LINE_SECONDS
        if not due and not seen:
            return
        row = {"block": self._name, "step": step, "last": self._last, "tokens": tokens, "loss": loss}
        row |= {"tokens_per_second": speed, "time": time.time(), "look": look}
        self._append(json.dumps(row) + "\n")
        if due and self._bar.disable:
            left = (time.monotonic() - self._began) / (step - self._first) * (self._last - step)
            place = f"{self._name}: step {step}/{self._last}"
            self._say(f"{place}, loss {loss:.3f}, {speed:,.0f} tokens/s{gist}, {left:.0f} s left")
        if due:
            self._spoke = time.monotonic()

    def _append(self, line: str) -> None:
        """Write a line for those who watch; where that fails, say so once and go on: training does not depend on it."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            if not self._unwritten:
                self._say(f"{self._path}: cannot be written ({error.strerror}); training goes on without it")
            self._unwritten = True

    def _note(self, look: dict[str, Any]) -> None:
        """Keep a look with what it and those before it say of the phase change; say so when that turns."""
        self._looks.append(look)
        if self._watch is None:
            return
        state, since = self._watch.phase_change(self._looks)
        look["phase_change"] = state
        if since is not None:
            look |= {"since_step": since["step"], "since_tokens": since["tokens"]}
        if state != self._state:
            place = f" at step {since['step']:,}, {since['tokens']:,} tokens" if since else " after all"
            self._say(f"phase change {state}{place}: {self._watch.told(look)}")
        self._state = state

    def _say(self, line: str) -> None:
        if self._bar.disable:
            print(line, file=sys.stderr, flush=True)
        else:
            tqdm.write(line, file=sys.stderr)


def _looks_until(step: int, path: Path) -> list[dict[str, Any]]:
    """Return the looks that earlier jobs had at the model until a step, in their order, of each step the last one.

    A killed job may have left half a line: it is passed over, and ended so that the next line stands alone.
    """
    looks: dict[int, dict[str, Any]] = {}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        if text and not text.endswith("\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")
    except OSError:  # none yet, or one that cannot be read: what was seen before is not known
        return []
    for row in progress_rows(text):
        look = row["look"]
        if look and look["step"] <= step:
            looks[look["step"]] = look
    return [looks[key] for key in sorted(looks)]


def _is_of(watch: Watch, look: Look) -> bool:
    """Return whether a look holds what a watch reads; one of another watch, or of a damaged line, may not."""
    try:
        watch.told(look)
        watch.phase_change([look])
    except (KeyError, TypeError, ValueError):
        return False
    return True
