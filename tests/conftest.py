"""What all tests share: the settings of a stage's process, and one thread."""

import torch

from induction.models.cpu import prepare_cpu

torch.set_num_threads(1)
prepare_cpu()
