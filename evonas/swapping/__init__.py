"""`swap`: replacing the pairs of normalisation and activation in any model by a layer."""
