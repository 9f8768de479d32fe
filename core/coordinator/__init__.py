"""The blind coordinator: offers, collects, sums, forwards."""
