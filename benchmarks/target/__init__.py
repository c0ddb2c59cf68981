"""The target: what a search should predict, measured on more than seventy layers.

Three medium networks and an unseen one learn CIFAR-10 for a thousand steps, with every layer of ``layer_list`` and two
seeds: `python -m benchmarks.target --data-dir ARCHIVE -o target.json`. Every training is a line of JSON in a file of
rows, written as it ends. The command can be stopped, and continues where it was when it is repeated; several may run at
the same time on different machines, whose rows are then joined with ``cat``.
"""
