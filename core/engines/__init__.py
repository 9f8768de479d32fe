"""The channel between coordinator and sites, and who carries it."""
