"""Sites as files, and where models are placed on them: numbers counted by hand, and what must hold of every placement."""

from itertools import pairwise, product
from pathlib import Path

import pytest
import torch
import yaml

from induction.errors import InductionError
from induction.models.transformer import Transformer
from induction.study.architecture import Architecture
from induction.study.config import ModelFields
from induction.study.placement import (
    HEADROOM,
    activation_bytes,
    block_flops,
    forward_flops,
    n_parameters,
    place,
    position_bytes,
    resumable_bytes,
    state_bytes,
    training_flops,
    training_seconds,
    unembedding_flops,
)
from induction.study.site import GPUS, Jobs, Node, Site, Slurm, known_gpu, load_site, single_gpu
from induction.study.study import load_study

ROOT = Path(__file__).parents[2]
SLURM = {"gpu_partition": "gpu", "cpu_partition": "cpu"}
NODE = {"gpu": "H100", "ranks": 8, "cpus": 64, "memory_gb": 500}
TINY = {"n_layers": 1, "d_model": 4, "n_heads": 2, "d_head": 2, "d_mlp": 8, "n_ctx": 3, "mlp_bias": False}


def site(nodes=1, days=7.0, **node):
    return Site(slurm=Slurm(**SLURM), node=Node(**{**NODE, **node}), jobs=Jobs(nodes=nodes, training_days=days))


def write(folder, content):
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def told(folder, content):
    with pytest.raises(InductionError) as error:
        load_site(write(folder, content))
    return str(error.value)


# --- sites ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["site.yaml", "site-8-gpus.yaml", "site-many-nodes.yaml"])
def test_the_site_files_of_the_repository_are_read(name):
    read = load_site(ROOT / "profiles/slurm" / name)
    assert read.node.ranks == 8
    assert read.rank_memory_gb == 80


def test_a_gpu_is_known_by_its_data_sheet_or_described(tmp_path):
    assert site().rank_peak_flops == 989e12
    own = load_site(
        write(tmp_path, {"slurm": SLURM, "node": {**NODE, "gpu": "MI300X", "gpu_memory_gb": 192, "peak_tflops": 1300}})
    )
    assert (own.rank_memory_gb, own.rank_peak_flops, own.rank_name) == (192, 1300e12, "MI300X")
    assert own.with_gpu("B200").rank_memory_gb == 180
    assert single_gpu("H200").rank_memory_gb == 141


def test_ranks_on_cpus_share_their_node(tmp_path):
    node = {"accelerator": "cpu", "ranks": 2, "cpus": 2, "memory_gb": 6, "peak_tflops": 0.05}
    read = load_site(write(tmp_path, {"slurm": {**SLURM, "gres": "gpu:toy"}, "node": node}))
    assert (read.rank_memory_gb, read.rank_name) == (3, "CPU")


def test_mistakes_name_file_key_and_what_is_permitted(tmp_path):
    said = told(tmp_path, {"slurm": {**SLURM, "acount": "me"}, "node": NODE})
    assert f"{tmp_path}/site.yaml: slurm.acount: unknown field." in said
    assert "Did you mean account?" in said
    said = told(tmp_path, {"slurm": SLURM, "node": {**NODE, "gpu": "H10"}})
    assert "node: gpu: H10: its memory and peak are not known here. Did you mean H100? Permitted: A100-40GB" in said
    assert said.endswith("peak_tflops.")
    assert "needs peak_tflops" in told(tmp_path, {"slurm": SLURM, "node": {**NODE, "accelerator": "cpu"}})
    assert "grace_seconds: 600 s before a limit of 10 minutes leave no time to train; permitted: up to 480" in told(
        tmp_path, {"slurm": SLURM, "node": NODE, "jobs": {"minutes": 10, "grace_seconds": 600}}
    )
    assert "fewer than ranks" in told(tmp_path, {"slurm": SLURM, "node": {**NODE, "cpus": 4}})
    (tmp_path / "site.yaml").write_text("# nothing yet\n", encoding="utf-8")
    with pytest.raises(InductionError, match=r"site\.yaml: the file is empty\. Copy one of"):
        load_site(tmp_path / "site.yaml")
    with pytest.raises(InductionError, match=r"no such site file\. Copy one of"):
        load_site(tmp_path / "none.yaml")
    with pytest.raises(InductionError, match=r"no GPU is known as H1000.* Did you mean H100\?"):
        known_gpu("H1000")


@pytest.mark.parametrize(
    ("printed", "bare"),
    [("gpu:h100:8", "gpu:h100"), ("gpu:8", "gpu"), ("gpu:a100:4(S:0-1)", "gpu:a100"), ("gpu:a100(S:0)", "gpu:a100")],
)
def test_a_gres_with_its_count_is_told_without(tmp_path, printed, bare):
    said = told(tmp_path, {"slurm": {**SLURM, "gres": printed}, "node": NODE})
    assert said.endswith(f"slurm.gres: '{printed}': without the count, {bare}; how many are asked for is reckoned.")


def test_a_gres_is_a_name_and_a_type(tmp_path):
    for gres in ("gpu", "gpu:h100", "gpu:1g.10gb", "gpu:nvidia_a100-sxm4-80gb", None):
        assert Slurm(**SLURM, gres=gres).gres == gres
    for gres in ("", "2", "gpu:", "gpu h100", "gpu:a:b"):
        assert "no generic resource is called so" in told(tmp_path, {"slurm": {**SLURM, "gres": gres}, "node": NODE})


# --- parameters and operations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", ["infused", "rotary", "learned"])
@pytest.mark.parametrize("d_mlp", [0, 24])
@pytest.mark.parametrize(("smeared", "biases"), [(False, False), (True, True), (True, False)])
def test_parameters_are_those_of_the_model(positions, d_mlp, smeared, biases):
    architecture = Architecture(
        n_layers=3, d_model=16, n_heads=3, d_head=4, d_mlp=d_mlp, n_ctx=11, vocab_size=29, positions=positions,
        smeared_keys=smeared, attention_bias=biases, mlp_bias=biases, n_local_heads=1, local_window=4,
    )  # fmt: skip
    with torch.device("meta"):
        model = Transformer(architecture)
    assert n_parameters(architecture) == sum(weight.numel() for weight in model.parameters())


def test_operations_counted_by_hand():
    architecture = Architecture(**TINY, vocab_size=10)
    # 4 matrices of 4 x 4 and two of 4 x 8: 128 weights, 2 operations each, 3 tokens; 1 + 2 + 3 pairs, 2 heads, twice
    # (scores, values) 2 operations on each of 2 numbers.
    assert block_flops(architecture, 3) == 2 * 128 * 3 + 6 * 2 * (2 * 2 * 2) == 864
    assert unembedding_flops(architecture, 3) == 2 * 4 * 10 * 3 == 240
    # A head that sees itself and one token before has 1 + 2 + 2 pairs.
    local = architecture.model_copy(update={"n_local_heads": 1, "local_window": 2})
    assert block_flops(local, 3) == 2 * 128 * 3 + (6 + 5) * 8
    fields = ModelFields(**TINY, batch_size=2, n_steps=10, batch_growth=[{"step": 4, "batch_size": 6}])
    assert training_flops(fields, architecture) == (4 * 2 + 6 * 6) * 3 * (864 + 240)
    # On 2 ranks that reach 0.35 of 989e12 operations a second; checkpointing runs the blocks once more.
    rate = 2 * 0.35 * 989e12
    assert training_seconds(fields, architecture, site(), 2, checkpointed=False) == pytest.approx(44 * 3312 / rate)
    assert training_seconds(fields, architecture, site(), 2, checkpointed=True) == pytest.approx(
        44 * (3312 + 864) / rate
    )


def test_local_pairs_are_those_of_the_models_mask():
    for window, n_tokens in product((1, 3, 9), (4, 9, 13)):
        architecture = Architecture(
            n_layers=1, d_model=8, n_heads=3, d_head=2, n_ctx=16, vocab_size=5, n_local_heads=2, local_window=window
        )
        pairs = int(Transformer(architecture).blocks[0].attn.mask(n_tokens).sum())
        assert block_flops(architecture, n_tokens) == 2 * 4 * 8 * 6 * n_tokens + 4 * 2 * pairs


def test_a_6l_model_agrees_with_the_rule_of_six():
    # 6 operations a weight and token (Kaplan et al. 2020), where contexts are short against the width.
    architecture = Architecture(n_layers=6, d_model=768, n_heads=12, d_head=64, d_mlp=3072, n_ctx=2, vocab_size=50_000)
    in_products = n_parameters(architecture) - 50_000 * 768
    assert 3 * forward_flops(architecture, 2) / 2 == pytest.approx(6 * in_products, rel=1e-3)


# --- bytes ------------------------------------------------------------------------------------------------------


def test_bytes_of_states_counted_by_hand():
    def bytes_at(stage, *, low=True):
        return state_bytes(1000, stage, 4, low=low)

    assert bytes_at(0, low=False) == 16_000  # weights, gradients, two moments: 4 bytes each
    assert bytes_at(0) == 18_000  # and what autocast keeps
    assert bytes_at(1) == 2000 + 4000 + 3000  # bf16, gradients, a quarter of masters and moments
    assert bytes_at(2) == 2000 + 1000 + 3000
    assert bytes_at(3) == 500 + 1000 + 3000 + 2000  # small models are gathered whole
    billion = 10**9
    assert state_bytes(100 * billion, 3, 100, low=True) == (2 + 4 + 12) * billion + 2 * billion


def test_bytes_of_resumable_states():
    fields = ModelFields(**TINY, optimizer="adamw")
    architecture = fields.architecture(10)
    # 80 embeddings, 128 in the block, three LayerNorms of 8.
    assert n_parameters(architecture) == 80 + 128 + 24
    assert resumable_bytes(fields, architecture) == 12 * 232
    assert resumable_bytes(fields.model_copy(update={"optimizer": "muon"}), architecture) == 12 * 232 - 4 * 128


@pytest.mark.parametrize(("d_mlp", "smeared"), [(0, False), (0, True), (256, False)])
def test_activations_are_about_what_autograd_keeps(d_mlp, smeared):
    architecture = Architecture(
        n_layers=3, d_model=64, n_heads=4, d_head=16, d_mlp=d_mlp, n_ctx=256, vocab_size=500, smeared_keys=smeared
    )
    model = Transformer(architecture)
    model.initialise(0)
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens_BT = torch.randint(500, (2, 256))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = torch.nn.functional.cross_entropy(model(tokens_BT).flatten(0, 1), tokens_BT.flatten())
    loss.backward()
    # Of their log-softmax alone is kept; the logits, which training holds, and two gradients come besides.
    measured = sum(kept.values()) + 3 * 4 * 2 * 256 * 500
    reckoned = activation_bytes(architecture, 2, low=False, stage=0, checkpointed=False, fused=False)
    assert 1 < reckoned / measured < 1.2


@pytest.mark.parametrize(("low", "n_bytes"), [(True, 2 + 4 + 4 + 4), (False, 4 + 4 + 4 + 4)])
def test_bytes_of_logits_counted_by_hand(low, n_bytes):
    def reckoned(vocab_size):
        architecture = Architecture(n_layers=1, d_model=8, n_heads=2, d_head=4, n_ctx=32, vocab_size=vocab_size)
        return activation_bytes(architecture, 3, low=low, stage=1, checkpointed=False, fused=True)

    assert reckoned(101) - reckoned(100) == 3 * 32 * n_bytes


def test_checkpointing_keeps_a_stream_a_layer():
    architecture = Architecture(n_layers=5, d_model=64, n_heads=4, d_head=16, n_ctx=32, vocab_size=100)

    def reckoned(n_layers, *, checkpointed):
        some = architecture.model_copy(update={"n_layers": n_layers})
        return activation_bytes(some, 1, low=True, stage=1, checkpointed=checkpointed, fused=True)

    assert reckoned(6, checkpointed=True) - reckoned(5, checkpointed=True) == 2 * 32 * 64
    one = reckoned(2, checkpointed=False) - reckoned(1, checkpointed=False)
    # The stream, three inputs, queries, keys, values and mixes twice over, and a number a head.
    assert one == 32 * (2 * 64 + 2 * (3 * 64 + 5 * 64) + 4 * 4)


def test_positions_are_held_once():
    architecture = Architecture(n_layers=40, d_model=5120, n_heads=40, d_head=128, n_ctx=8192, vocab_size=2**16)
    assert position_bytes(architecture) == 4 * 8192 * 5120
    assert position_bytes(architecture.model_copy(update={"positions": "rotary"})) == 0


# --- placements -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def paper():
    return load_study(ROOT, "paper")


SITES = {
    "8 x A100": site(gpu="A100-80GB"),
    "16 x 8 x H100": site(nodes=16),
    "16 x 8 x H100 in haste": site(nodes=16, days=0.5),
    "32 x 8 x A100-40GB": site(nodes=32, gpu="A100-40GB"),
    "8 x 8 x H200": site(nodes=8, gpu="H200"),
    "64 x 4 x B200": site(nodes=64, gpu="B200", ranks=4),
}


@pytest.mark.parametrize("where", SITES)
def test_every_model_of_the_paper_fits_and_its_batches_divide(paper, where):
    cluster = SITES[where]
    for model in paper.models.values():
        placed = place(model.fields, model.architecture, cluster, model.name)
        assert placed.memory_gb <= HEADROOM * cluster.rank_memory_gb
        assert placed.n_ranks == placed.n_nodes * placed.ranks_per_node
        assert placed.n_nodes <= cluster.jobs.nodes
        assert placed.n_nodes == 1 or placed.ranks_per_node == cluster.node.ranks
        sizes = model.fields.schedule.batch_sizes
        assert [placed.micro_batch * times * placed.n_ranks for times in placed.accumulation] == sizes


def test_no_more_ranks_are_taken_than_the_days_need(paper):
    cluster = SITES["16 x 8 x H100"]
    aimed = 86_400 * cluster.jobs.training_days
    ranks = {}
    for model in paper.models.values():
        placed = place(model.fields, model.architecture, cluster, model.name)
        ranks[model.name] = placed.n_ranks
        if placed.n_ranks > 1:
            fewer = training_seconds(
                model.fields,
                model.architecture,
                cluster,
                placed.n_ranks // 2,
                checkpointed=placed.checkpoint_activations,
            )
            assert fewer > aimed
    assert all(n == 1 for name, n in ranks.items() if not name.startswith("full"))
    assert ranks["full-4l-s0"] == 1, "13M parameters"
    assert ranks["full-40l-s0"] == 128


def test_more_memory_never_needs_more_ranks_nor_a_costlier_choice(paper):
    cheapest_first = [(0, False), (1, False), (2, False), (0, True), (1, True), (2, True), (3, False), (3, True)]
    for model in paper.models.values():
        found = []
        for memory_gb in (40, 48, 60, 80, 96, 141, 180, 288, 400):
            cluster = site(nodes=16, gpu_memory_gb=memory_gb, peak_tflops=989)
            placed = place(model.fields, model.architecture, cluster)
            choice = (placed.zero_stage, placed.checkpoint_activations)
            found.append((placed.n_ranks, cheapest_first.index(choice)))
            assert not (placed.zero_stage and placed.n_ranks == 1), "one rank shares nothing out"
        assert all(later <= earlier for earlier, later in pairwise(found)), (model.name, found)
    largest = paper.models["full-40l-s0"]
    kinds = [
        place(largest.fields, largest.architecture, site(nodes=16, gpu_memory_gb=gb, peak_tflops=989))
        for gb in (80, 400)
    ]
    assert [placed.checkpoint_activations for placed in kinds] == [True, False]
    assert kinds[1].zero_stage == 0
    assert "undivided it needs" in kinds[0].reason


def test_the_largest_micro_batch_that_fits_is_taken(paper):
    model = paper.models["small-attn-2l-s0"]
    small, large = (place(model.fields, model.architecture, single_gpu(gpu)) for gpu in ("A100-40GB", "H200"))
    assert small.micro_batch < large.micro_batch
    assert small.micro_batch * small.accumulation[0] == large.micro_batch * large.accumulation[0] == 128


def test_batches_that_nodes_do_not_divide_leave_gpus_idle():
    fields = ModelFields(n_ctx=512, batch_size=12, optimizer="adamw", n_steps=10**9)
    placed = place(fields, fields.architecture(1000), site(nodes=16, days=0.01))
    # 6 of 8 GPUs a node, and 2 nodes: 12 ranks, a sequence each.
    assert (placed.n_nodes, placed.ranks_per_node, placed.micro_batch, placed.accumulation) == (2, 6, 1, (1,))
    assert "no more ranks divide the batches" in placed.reason


def test_muon_trains_whole_matrices_or_says_why_not():
    wide = {"n_layers": 24, "d_model": 3072, "n_heads": 48, "d_mlp": 12288, "n_ctx": 8192, "batch_size": 128}
    fields = ModelFields(**wide, optimizer="muon", dtype="bfloat16")
    with pytest.raises(InductionError) as error:
        place(fields, fields.architecture(2**16), site(nodes=16, gpu="A100-40GB"), "wide")
    said = str(error.value)
    assert said.startswith("wide (3,121,")
    assert "Muon trains at stage 0 alone" in said
    assert "ZeRO stage 0 on 128 ranks" in said
    roomy = place(fields, fields.architecture(2**16), site(nodes=16, gpu="B200", days=0.01))
    assert roomy.zero_stage == 0
    adamw = ModelFields(**wide, optimizer="adamw", dtype="bfloat16")
    assert place(adamw, adamw.architecture(2**16), site(nodes=16, gpu="A100-40GB")).zero_stage > 0


def test_a_model_that_fits_nowhere_is_told_with_what_it_needs(paper):
    model = paper.models["full-40l-s0"]
    with pytest.raises(InductionError, match=r"full-40l-s0 \(13,.* parameters.*needs .* GB of a L40S.* has 48.0 GB"):
        place(model.fields, model.architecture, single_gpu("L40S"), model.name)


def test_a_site_may_ask_for_a_stage_at_least(paper):
    model = paper.models["full-6l-s0"]
    asked = SITES["8 x A100"].model_copy(update={"jobs": Jobs(least_zero_stage=2)})
    assert place(model.fields, model.architecture, asked).zero_stage == 2
    muon = ModelFields(n_ctx=64)
    assert place(muon, muon.architecture(300), asked).zero_stage == 0


def test_ranks_on_cpus_are_placed_too():
    fields = ModelFields(n_layers=1, d_model=32, n_heads=2, n_ctx=64, batch_size=4, optimizer="adamw")
    toy = site(nodes=2, days=1e-9, accelerator="cpu", gpu=None, ranks=2, cpus=2, memory_gb=4, peak_tflops=0.05)
    placed = place(fields, fields.architecture(300), toy)
    assert (placed.n_nodes, placed.ranks_per_node, placed.micro_batch) == (2, 2, 1)


def test_known_gpus_have_memory_and_peak():
    # Data sheets: NVIDIA A100 80GB, H100 SXM, H200 SXM, HGX B200 (an eighth); dense bf16.
    assert [GPUS[name] for name in ("A100-80GB", "H100", "H200", "B200")] == [
        (80, 312),
        (80, 989),
        (141, 989),
        (180, 2250),
    ]
