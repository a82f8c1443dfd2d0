"""Clients of inference engines: our own vLLM server on localhost, and services behind named endpoints."""
