"""A candidate on trial: its networks, their training, and the filters that need them."""
