"""Integers in coefficients, ciphertexts, frames and their sums."""
