"""The executors: they evaluate tasks in this process, or on the workers of a Ray cluster."""
