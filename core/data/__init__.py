"""Records, base-model folders and who may be used: what a site has."""
