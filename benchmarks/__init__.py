"""Benchmarks: scripts that print tables and write JSON. They measure, and assert nothing."""
