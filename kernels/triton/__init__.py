"""A plan as Triton kernels: their source, their tiles, and launching them."""
