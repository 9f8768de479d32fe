"""Sekisho: federated fine-tuning of foundation models behind one gate."""

__version__ = "0.1.0"
