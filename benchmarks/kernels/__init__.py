"""Triton kernels on a GPU: right, and how fast.

    python -m benchmarks.kernels

First correctness on the hardware: the zoo and 100 random graphs against the reference in float64. Then, for the shapes
of the norm-activation layers of ResNet-50 at batch 128 and of MobileNetV2, both memory formats, float32 and bfloat16,
forward and forward with backward: our kernels, the reference run eagerly, the reference under
`torch.compile(dynamic=False)`, and cuDNN's batch normalisation followed by a ReLU. Everything is measured side by
side in one run, with the L2 cache flushed before each call, beside the bytes that the plan has to move and the
bandwidth of a copy of the same size. A row is written to the JSON as soon as it is measured, and what was not
measured is absent. Then training steps of a ResNet-50 at batch 128 with the same layers. `--part` measures some of
it, and keeps what the file has of the same machine and versions. Needs torch, triton and numpy alone.
"""
