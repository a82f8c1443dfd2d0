"""What no unit test depends on: how the machine reaches the internet."""

import urllib.request

import pytest


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy that the environment names stands between a test and its own servers."""
    for scheme in urllib.request.getproxies_environment():
        for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY"):
            monkeypatch.delenv(name, raising=False)
