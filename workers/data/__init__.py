"""Data sets, and the batches that training takes of them."""
