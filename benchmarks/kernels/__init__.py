"""Measures Triton kernels on a GPU: whether they are right, and how fast. It needs only torch, triton and numpy.

    python -m benchmarks.kernels --minutes 9 -o FOLDER

A GPU may be available for only a few minutes, so the most important figures come first, each row is written to the disk
at once, and the same command continues where the last one stopped. In order: the machine and the speed of its copies;
compiling everything, and checking it against the reference in float64, in as many processes as there are cores; layers
on the shapes of ResNet-50 in bfloat16, channels last, compared with the reference run eagerly, with `nn.BatchNorm2d`
and a ReLU, and with the reference under `torch.compile`; each kernel on its own; the time of the host for a call;
training steps of a whole ResNet-50; other tiles and constant sizes; other formats and types; the figures of a profiler;
further shapes.

All contenders of a row are measured one after another, with the L2 cache flushed before each call. The row also holds
the bytes that have to be moved, and the bandwidth of a copy of the same size. `torch.compile` has rows of its own later
on, and `nn.BatchNorm2d` is measured once for each shape, together with `bn-relu`. FOLDER receives `rows-….jsonl`, one
file for each combination of code, versions and GPU, and `kernels.json`, the summary of the last one. Without a GPU,
`--device cpu` checks correctness in Triton's interpreter.
"""
