"""Scripts that measure; each prints a table and writes JSON. None of them asserts."""
