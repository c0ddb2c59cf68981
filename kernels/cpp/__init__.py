"""A plan as C++: its source, building it, and calling it."""
