"""Startup probes: a GET on localhost."""

import asyncio

_HOST = "127.0.0.1"


async def answers(port: int, path: str) -> bool:
    """Tell whether a GET of the path is answered with a status from 200 to 399."""
    try:
        reader, writer = await asyncio.open_connection(_HOST, port)
    except OSError:
        return False
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {_HOST}:{port}\r\nUser-Agent: kube-probe\r\nConnection: close\r\n\r\n".encode())
        first = await reader.readline()
    except (OSError, ValueError):
        return False
    finally:
        writer.close()
    words = first.split()
    return len(words) > 1 and words[1].isdigit() and 200 <= int(words[1]) < 400
