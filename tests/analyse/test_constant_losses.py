"""Models that learn nothing: every stage of the analysis gives its table, and claims are judged."""

import numpy as np
import pytest
from planted import TWELVE, write_evaluation, write_heads, write_losses

from analyse.claims.planted_study import SETTINGS, member
from induction.analyse.claims.stage import claims
from induction.analyse.curves import curves
from induction.analyse.pca import pca
from induction.analyse.phases import phases
from induction.analyse.window_rules import window_rules
from induction.study.analysis import Bootstrap, Phases, WindowRules
from induction.tables.claims import CLAIMS, INCONCLUSIVE, NOT_SUPPORTED
from induction.tables.phases import PHASES
from induction.tables.window_rules import WINDOW_RULES

BOOTSTRAP = Bootstrap(n_resamples=20)
MODELS = (member("attn-1l-s0", n_layers=1), member("attn-2l-s0"))


@pytest.mark.parametrize("steps", [range(8), range(2), range(1)], ids=["8 snapshots", "2 snapshots", "1 snapshot"])
@pytest.mark.parametrize("between_examples", [0.0, 1.0])
def test_constant_losses_have_tables_and_verdicts(tmp_path, steps, between_examples):
    random = np.random.default_rng(0)
    one_EI = (5 + between_examples * random.standard_normal((16, 12))).clip(0).astype(np.float32)
    evaluation = write_evaluation(tmp_path / "evaluation.safetensors", np.arange(16) % 12 + 1)
    tables, losses = [], []
    for model in MODELS:
        at = {
            name: tmp_path / f"{name}/model={model.name}/part.parquet"
            for name in ("curves", "replicates", "phases", "onsets", "window_rules")
        }
        parts = write_losses(tmp_path / f"losses/model={model.name}", steps, [one_EI] * len(steps), blocks=1)
        scores = {"prefix_matching": np.full((len(steps), 2), 0.02)}
        heads = tmp_path / f"heads/model={model.name}/part.parquet"
        heads.parent.mkdir(parents=True)
        given = (parts, [write_heads(heads, steps, scores)], evaluation, TWELVE, BOOTSTRAP)
        curves(*given, at["curves"], at["replicates"])
        phases(*given, Phases(), at["phases"], at["onsets"])
        window_rules(at["curves"], at["replicates"], Phases(), WindowRules(), at["window_rules"])
        assert not PHASES.read(at["phases"])["found"].any()
        assert not WINDOW_RULES.read(at["window_rules"])["found"].any()
        tables += [heads, *(path for name, path in at.items() if name != "window_rules")]
        losses += parts
    tables.append(tmp_path / "pca.parquet")
    groups = {model.name: "all" for model in MODELS}
    pca(losses, {"all": evaluation}, groups, BOOTSTRAP, Phases(), tables[-1])
    outs = [tmp_path / name for name in ("claims.parquet", "orders.parquet", "claims.md")]
    settings = SETTINGS.model_dump(mode="json") | {"bootstrap": BOOTSTRAP.model_dump(mode="json")}
    claims(tables, [model.model_dump(mode="json") for model in MODELS], settings, *outs)
    assert set(CLAIMS.read(outs[0])["verdict"]) <= {INCONCLUSIVE, NOT_SUPPORTED}
