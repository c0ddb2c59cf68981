"""Judging candidates without a network: cheap filters, functional keys, hurdles, selection."""
