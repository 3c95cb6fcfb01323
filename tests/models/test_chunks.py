"""How much is computed at once changes no result, and what is changed for a measurement is put back."""

import pytest
import torch

from induction.measure.ablated_runs import ablated_losses, single_heads
from induction.measure.losses import example_losses
from induction.models.chunks import at_once, chunk_factor
from measure.drawn_models import drawn_model

CPU = torch.device("cpu")


def test_the_factor_holds_inside_alone():
    assert (at_once(512, CPU), at_once(512, torch.device("cuda"))) == (512, 16 * 512)

    def fail_inside():
        with chunk_factor(4, CPU):
            assert at_once(512, CPU) == 2048
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert at_once(512, CPU) == 512
    with chunk_factor(2, torch.device("meta")):
        assert at_once(1, torch.device("meta")) == 2
    assert at_once(1, torch.device("meta")) == 16


def test_results_do_not_depend_on_it():
    model = drawn_model(0, n_layers=2, d_model=32, n_heads=4, d_head=8, vocab_size=5000, n_ctx=64)
    tokens_BT = torch.randint(0, 5000, (40, 65), generator=torch.Generator().manual_seed(0))
    asked = torch.tensor([[3, 60]]).expand(40, -1)

    def measured():
        ablated = ablated_losses(model, tokens_BT, asked, single_heads(model))
        return torch.cat([example_losses(model, tokens_BT), *ablated.values()], dim=1)

    usual = measured()
    with chunk_factor(16, CPU):
        torch.testing.assert_close(measured(), usual, atol=1e-5, rtol=1e-5)
