"""Triton kernels on a GPU: right, and how fast. Needs torch, triton and numpy alone.

    python -m benchmarks.kernels --minutes 9 -o FOLDER

A GPU may be had for minutes, so the most important is measured first, each row is on the disk as soon as it is known,
and the same command goes on where the last one stopped. In order: what the machine is and how fast it copies;
everything compiled, and looked at for correctness against the reference in float64, in as many processes as there are
cores; layers on ResNet-50's shapes in bfloat16, channels last, beside the reference run eagerly, `nn.BatchNorm2d` with
a ReLU, and the reference under `torch.compile`; each kernel alone; what a call costs the host; training steps of a
whole ResNet-50; other tiles and ways to write kernels; other formats and types; what a profiler says; further shapes.

All contenders of a row are measured side by side, with the L2 cache flushed before each call, beside the bytes that
have to be moved and the bandwidth of a copy of the same size. `torch.compile` has rows of its own, later on, and
`nn.BatchNorm2d` is measured once for each shape, beside `bn-relu`. FOLDER gets `rows-….jsonl`, a file for each code,
version and GPU, and `kernels.json`, the summary of the last. Without a GPU, `--device cpu` looks at correctness in
Triton's interpreter.
"""
