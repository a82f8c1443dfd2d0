"""A one-node Kubernetes cluster on this machine, from Go modules and a few Debian packages: `python -m tests.onenode up`."""
