"""Evolve normalisation-activation layers."""
