"""The contracts: the resource and its status, the platform's values, the task of a worker, messages and exit codes. Pure."""
