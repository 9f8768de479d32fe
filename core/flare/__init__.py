"""NVIDIA FLARE as a pipe between machines: it carries signed bytes, and holds no data, no key of a party and no model."""
