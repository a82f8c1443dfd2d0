"""Clients of inference engines: our own vLLM server on localhost."""
