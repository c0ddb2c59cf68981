"""A graph as a PyTorch module, and what evaluates it."""
