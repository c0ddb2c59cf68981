"""The target: what a search should predict, measured on more than sixty layers.

Three medium networks and an unseen one learn CIFAR-10 for a thousand steps, with every layer of ``layers.json`` and two
seeds: `python -m benchmarks.target --data-dir cifar10-jpeg.tar.xz`. Every training is a line of JSON in a file of rows,
written as it ends. The command can be stopped, and continues where it was when it is repeated; several may run at the
same time on different machines, whose rows are then joined with ``cat``.
"""
