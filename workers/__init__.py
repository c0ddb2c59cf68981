"""The evaluation of candidates: anchor networks, data sets, training, filters, and the executors that run them."""
