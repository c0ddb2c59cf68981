"""What carries tasks out: this process, or the workers of a Ray cluster."""
