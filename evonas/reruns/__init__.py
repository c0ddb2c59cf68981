"""What follows a search: training chosen layers again, ranking them, and transferring them to other tasks."""
