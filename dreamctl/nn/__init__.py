"""Network blocks, distributions, heads and the optimizer; knows nothing of dreams."""
