"""Specialise an aligned language model without making it forget."""

__version__ = "0.1.0"
