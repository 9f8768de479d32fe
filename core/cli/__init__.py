"""The sekisho command: one noun per role."""
