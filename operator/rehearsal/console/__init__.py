"""One machine's side of the command: reading manifests, the machine's own platform, what a person sees while it runs."""
