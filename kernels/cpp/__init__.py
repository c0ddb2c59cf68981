"""A plan in C++: writing its source, building it, and calling it."""
