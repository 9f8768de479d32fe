"""Who may sign what, and what counts as signed."""
