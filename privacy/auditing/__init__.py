"""Checks of the privacy mechanism from outside: what a right one cannot fail and a wrong one does not pass."""
