"""The parts that a configuration names, made and checked: settings, the store, the executor, the machine."""
