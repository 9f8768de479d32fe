"""Mathematics and keys: differential privacy and encrypted aggregation. Knows no policy, no roster, no study."""
