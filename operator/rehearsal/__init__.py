"""Specialise an aligned language model without making it forget."""
