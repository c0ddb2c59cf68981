"""Trainings after a search: of a run's best layers, of given layers, and on other tasks; and their statistics."""
