"""What a rank of `engine_runs.train_on_ranks` runs, with MANIFEST LOG CASES; not a test module."""

import json
import sys
from pathlib import Path

from engine_runs import Case, run

from induction.models.cpu import prepare_cpu
from induction.train.ranks import join

prepare_cpu()
manifest, log, cases = sys.argv[1:]
ranks = join()
outcomes = [run(Case(**case), Path(manifest), ranks) for case in json.loads(cases)]
Path(f"{log}.{ranks.rank}.json").write_text(json.dumps(outcomes), encoding="utf-8")
ranks.leave()
