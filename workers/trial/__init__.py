"""The trial of a candidate: its networks, their training, the filters that need them, and its scores."""
