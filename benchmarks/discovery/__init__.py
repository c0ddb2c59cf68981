"""Does a search end with a better layer? Whole searches with fresh seeds, whose winners are trained longer than ever.

`python -m benchmarks.discovery FOLDER` runs `evonas search` with its defaults for each seed, then trains the layer that
each of them verified, beside published layers, for four times the search's longest training with ten seeds that nothing
else uses, and compares them on the test split and on a network that no search saw. Winners can be compared by other
yardsticks too: CIFAR-10 on small and on medium networks. FOLDER keeps the databases and one line of JSON for each
training, so that the command continues where it was stopped.
"""
