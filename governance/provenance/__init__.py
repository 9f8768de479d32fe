"""Where a model came from and where it may go."""
