"""One step's local work: from eligible records to an integer sum."""
