"""What two ranks do in `test_waiting.py`: wait for a lock that another process holds."""

import sys
from pathlib import Path

from induction.train.ranks import join
from induction.train.stopping import alone, stop_asked

with stop_asked() as stop:
    ranks = join()
    try:
        with alone(Path(sys.argv[1]), ranks, stop):
            print(f"rank {ranks.rank} is in", flush=True)
            ranks.wait()
    finally:  # as `induction train` does
        ranks.leave()
