"""Per-sample gradients and their clipped sums."""
