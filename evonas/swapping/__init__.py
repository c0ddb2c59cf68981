"""A layer in the place of the pairs of normalisation and activation in any model."""
