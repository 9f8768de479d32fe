"""A site: what it owns, how it joins, steps, opens and publishes."""
