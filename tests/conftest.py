"""What all tests share: the settings of a stage's process, one thread, and no deadline: machines are noisy."""

import hypothesis
import torch

from induction.models.cpu import prepare_cpu

hypothesis.settings.register_profile("noisy machine", deadline=None)
hypothesis.settings.load_profile("noisy machine")
torch.set_num_threads(1)
prepare_cpu()
