"""NVIDIA FLARE as a pipe between machines: it carries signed bytes, and holds no data, no model and no party's key."""
