"""What all tests share: one thread, so that machines with few cores run them as fast as they can."""

import torch

torch.set_num_threads(1)
