"""Settings of all tests: one thread, which tiny tensors are faster on, by far on a busy machine."""

import os

import torch

# The processes that tests start compute with one thread as well, to the same last bit.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
