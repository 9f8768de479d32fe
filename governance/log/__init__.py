"""Append-only Merkle logs, their signed heads and their witnesses."""
