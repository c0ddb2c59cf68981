"""What a search and its trainings show while they go on, on a terminal, in a notebook and in a pipe, and its tables."""
