"""What a report is made of, for a study that never ran: planted tables, drawings of nothing, hostile names."""

from pathlib import Path

import numpy as np

from figures.simulated_tables import STEPS, Planted, write_tables
from induction.analyse.claims.registry import CLAIMS as REGISTRY
from induction.analyse.claims.stage import stated
from induction.files import sealed_svg, write_json
from induction.tables.case_studies import CASE_STUDIES
from induction.tables.claims import ALL, CLAIMS, INCONCLUSIVE, NOT_SUPPORTED, ORDERS, SUPPORTED, VERDICTS
from induction.tables.manifests import corpus_fingerprint
from induction.tables.table import table_of

ROOT = Path(__file__).parents[2]
HOSTILE = "<img src=x onerror=alert(1)>"
TWO = Planted(2, 4.8)
NAMED = Planted(1, None, family=HOSTILE)
MODELS = (TWO, NAMED)
READ = ("heads", "case_studies", "pca", "phases", "curves")

TOKENS = ["<start>", "</script>", "<script>alert(1)</script>", " b\n", "&amp;", "</script>", "\u2028é"]
FIRST = 41
"""Index of the passage's first token."""
FROM, TO = 5, 2
"""The planted look: the second `</script>` looks at what followed the first."""
PLANTED, LOWERED = 0.9, -0.81
HEADS = {(0, 2): "previous-token", (1, 1): "induction"}


def drawing(name: str) -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="252pt" height="9pt"><g id="a">{name}</g></svg>'.encode()


def attention(head) -> np.ndarray:
    """[query, key] of a planted head: it looks at the token before, or there a little and where the planted look is."""
    n = len(TOKENS)
    induction = HEADS[head] == "induction"
    weights = np.zeros((n, n))
    weights[range(n), np.maximum(np.arange(n) - 1, 0)] = PLANTED / 3 if induction else PLANTED
    if induction:
        weights[FROM] = 0
        weights[FROM, TO] = PLANTED
    return weights


def attribution(head) -> np.ndarray:
    """[query, key]: raised through what it looks at; of the planted look's query, lowered through the first token."""
    found = 3 * attention(head)
    found[FROM, 1] = LOWERED
    return found


def planted_content(folder: Path, partial: bool = False) -> dict:
    """Write files under `folder` and return the report's content; a partial study has measured nothing."""
    tables = [] if partial else [path for path in write_tables(folder, MODELS) if table_of(path) in READ]
    for path in tables:
        if table_of(path) == "case_studies":
            CASE_STUDIES.write(path, _case_studies())
    claims, orders = folder / "results/tables/claims.parquet", folder / "results/tables/orders.parquet"
    rows = claim_rows(estimated=not partial)
    CLAIMS.write(claims, {name: [row[name] for row in rows] for name in rows[0]})
    with ORDERS.writer(orders) as writer:
        if not partial:
            writer.append(ORDERS_PLANTED)
    manifest = folder / "results/corpora/text/manifest.json"
    source = {"package": "numpy", "version": "2.0", "sha256": "00"}
    counted = {"vocab_size": 1024, "n_train_tokens": 9_000_001, "n_held_out_tokens": 70_002}
    shared = {"n_tokens": 50, "share": 0.0123, "n_documents_above_half": 1}
    dropped = {"share_before_dropping": 0.0456, "n_dropped_documents": 7, "n_dropped_tokens": 890}
    uncounted = ("start_token", "n_documents", "n_train_characters", "n_held_out_documents", "n_unused_documents")
    uncounted += ("n_unused_tokens", "n_too_short", "n_duplicates")
    identity = {"shards": [], "files": {}, "fingerprint": corpus_fingerprint([], {})}
    write_json(
        manifest,
        {
            "name": "text",
            "sources": [source],
            "overlap": shared | dropped,
            **identity,
            **dict.fromkeys(uncounted, 0),
            **counted,
        },
    )
    content = {
        "study": "planted",
        "claims": claims,
        "orders": orders,
        "tables": tables,
        "manifests": [manifest],
        "models": [_told(model) for model in (MODELS[:1] if partial else MODELS)],
    }
    if not partial:
        content |= {
            "description": HOSTILE,
            "figures": [_figure(folder, "phase_change", 768), _figure(folder, "circuits", None)],
            "pages": [{"model": model.name, "svg": _svg(folder, f"page-{at}")} for at, model in enumerate(MODELS)],
            "page_caption": {
                "path": ROOT / "workflow/report/model_page.rst",
                "counts": {"evaluation.n_examples": 768, "ablations.n_examples": 256},
            },
            "configuration": {"description": HOSTILE, "heads": {"previous_token": 0.3}},
            "costs": [_cost("train", 2, 3725.5, 500), _cost("heads", 3, 10.2, 900)],
        }
    return _plain(content)


def claim_rows(estimated: bool = True) -> list[dict]:
    """Claims with none, one or two subjects, each verdict among them."""
    rows = []
    none = dict.fromkeys(("estimate", "estimate_low", "estimate_high", "chance", "chance_adjusted", "window_support"))
    weighed = {"chance": 0.1234, "chance_adjusted": 0.2468, "window_support": 0.54}
    for number, claim in REGISTRY.items():
        told = stated(claim)
        verdicts = [VERDICTS[(number + at) % 3] for at in range(number % 3)] if estimated else []
        whole = NOT_SUPPORTED if NOT_SUPPORTED in verdicts else SUPPORTED if SUPPORTED in verdicts else INCONCLUSIVE
        said = {"quantity": "", "n_seeds": 0, "interval_over": "none", "reason": f"Because of {number}."}
        rows.append({**told, **none, **(weighed if verdicts else {}), **said, "subject": ALL, "verdict": whole})
        for at, verdict in enumerate(verdicts):
            value = (-1) ** at * 10.0 ** (number % 8 - 2) / 7
            size = abs(value)
            figures = {"estimate": value, "estimate_low": value - size / 3, "estimate_high": value + size / 3}
            said = {"quantity": "nats", "n_seeds": 3, "interval_over": "seeds", "reason": f"Of {number}, {at}."}
            rows.append({**told, **figures, **said, **weighed, "subject": f"{HOSTILE} {at}", "verdict": verdict})
    return rows


ORDERS_PLANTED = {
    "subject": "two layers",
    "order": ["icl < previous_token", "previous_token < icl"],
    "n_seeds": 2,
    "probability": [0.25, 0.75],
    "probability_low": [0.125, 0.5],
    "probability_high": [0.5, 0.875],
    "reason": "Over resamples.",
}


def _case_studies():
    rows = [
        {
            **{"step": STEPS[-1], "tokens": 7, "layer": head[0], "head": head[1], "chosen": kind, "example": 5},
            **{"query": query + FIRST - 1, "query_text": TOKENS[query]},
            **{"key": key and key + FIRST - 1, "key_text": TOKENS[key]},
            **{"attention": attention(head)[query, key], "attribution": attribution(head)[query, key]},
        }
        for head, kind in HEADS.items()
        for query in range(1, len(TOKENS))
        for key in range(query + 1)
    ]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _figure(folder, name, n_examples):
    counts = {} if n_examples is None else {"evaluation.n_examples": n_examples}
    caption = ROOT / f"workflow/report/{name}.rst"
    return {"name": name, "svg": _svg(folder, name), "caption": caption, "counts": counts}


def _svg(folder, name):
    path = folder / f"results/figures/{name}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sealed_svg(drawing(name)))
    return path


def _cost(stage, jobs, seconds, peak):
    return {"stage": stage, "jobs": jobs, "seconds": seconds, "longest": seconds / 2, "peak_mb": peak}


def _told(model):
    fields = {"d_model": 128, "n_parameters": 393_216, "corpus": "text", "tokens": 8_110_080}
    return {name: getattr(model, name) for name in ("name", "family", "label", "n_layers", "seed")} | fields


def _plain(content):
    """As the command line hands it over: paths as text."""
    if isinstance(content, dict):
        return {name: _plain(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_plain(value) for value in content]
    return str(content) if isinstance(content, Path) else content
