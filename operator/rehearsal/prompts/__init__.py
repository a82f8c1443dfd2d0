"""Where text meets a template: pre-query, encoding, loss masks, the place of a rating. Needs tokenizers and jinja2, no torch."""
