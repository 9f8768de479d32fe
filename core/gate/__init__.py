"""The only way out of a site."""
