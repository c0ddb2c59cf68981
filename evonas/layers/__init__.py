"""Graphs as PyTorch modules, and the backends that evaluate them."""
