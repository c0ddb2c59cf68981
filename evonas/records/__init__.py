"""The record of a run: the contract of a store, the values that it keeps, and reading them."""
