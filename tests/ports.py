"""Ports for the servers that tests start."""

import random
import socket
from contextlib import suppress

_claims: list[socket.socket] = []
"""Names that only one process can have, a port each. The kernel frees them with the process."""


def free_port() -> int:
    """Return a port nobody listens on, which no other call returns, not even a rival process's, as long as this process lives.

    It lies below those that outgoing connections take, so it stays free between two starts.
    """
    while True:
        port, claim = random.randrange(20_000, 32_000), socket.socket(socket.AF_UNIX)  # noqa: S311
        with socket.socket() as probe, suppress(OSError):
            claim.bind(f"\0rehearsal-test-port-{port}")
            probe.bind(("127.0.0.1", port))
            _claims.append(claim)
            return port
        claim.close()
