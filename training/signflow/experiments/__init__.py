"""Experiments: one module per technique, each asking whether it helps."""
