"""Published layers that are no graphs, because they keep a memory of earlier batches, or treat channels differently."""
