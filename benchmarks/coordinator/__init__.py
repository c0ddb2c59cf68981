"""How many candidates a coordinator can handle, regardless of the cost of training."""
