"""A layer as a file for people who do not have evonas."""
