"""A study's papers before it runs: drafted from a table, signed by people with their own keys, and where they stand."""
