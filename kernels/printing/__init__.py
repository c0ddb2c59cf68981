"""What the Triton and the C++ printer share: values as lines of a kernel, and the layout of buffers."""
