"""The Python API of a search, the parts that a configuration names, and the check of the machine."""
