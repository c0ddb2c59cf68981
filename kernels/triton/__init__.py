"""A plan in Triton: writing its kernels, choosing their tiles, and launching them."""
