"""Secret randomness, sampling, rounding and noise."""
