"""What checking inputs costs a stage: CPU time spent on hashes and seals, as a share of the whole command.

    python tests/benchmarks/checks.py losses results/models/attn-1l-s1/block-1.json --evaluation … --out …

Takes the words of any command of `induction`, runs it in this process, and prints a line (docs/integrity.md has a table of them).
"""

import functools
import sys
import time
from contextlib import suppress
from types import ModuleType

from induction import cli
from induction.corpus import shards
from induction.models import snapshots
from induction.tables import manifests, table, tensors

CHECKS: dict[ModuleType, tuple[str, ...]] = {
    table: ("_check_footer", "_seal"),
    tensors: ("_described", "sealed"),
    shards: ("_check_hash",),
    manifests: ("check_seal",),
    snapshots: ("sha256_file",),
}
"""Functions that check what is read, or make what is checked, by the module that calls them."""


def timed(function, spent):
    """Return a function that adds its CPU time to `spent`."""

    @functools.wraps(function)
    def wrapped(*arguments, **named):
        began = time.process_time()
        try:
            return function(*arguments, **named)
        finally:
            spent.append(time.process_time() - began)

    return wrapped


if __name__ == "__main__":
    spent: list[float] = []
    for module, names in CHECKS.items():
        for name in names:
            setattr(module, name, timed(getattr(module, name), spent))
    with suppress(SystemExit):
        cli.main(sys.argv[1:])
    whole = time.process_time()
    print(f"{sys.argv[1]}: checking {1e3 * sum(spent):.1f} ms of {whole:.2f} s CPU time, {sum(spent) / whole:.2%}")
