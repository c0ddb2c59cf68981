"""What determines a run, as values: search space, protocol, objectives, configuration, candidates."""
