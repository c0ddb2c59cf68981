"""From a graph to source code: the PyTorch printer and, later, fused kernels."""
