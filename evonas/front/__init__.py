"""The Python API of a search: `search`, `resume`, and their result."""
