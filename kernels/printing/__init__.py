"""What Triton and C++ printers share: values as lines of a kernel, and the layout of buffers."""
