"""Anchor networks, data, training and the executors that run them."""
