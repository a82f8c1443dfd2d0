"""Evaluation tasks: lm-evaluation-harness task files in the store, with JSON beside them, and nothing in them that runs code."""
