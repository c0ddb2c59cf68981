"""From a graph to source code: fused kernels in Triton and C++, and exported files."""
