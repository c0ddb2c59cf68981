"""The values that determine a run: search space, protocol, objectives, configuration, candidates."""
