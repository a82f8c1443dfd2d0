"""The undisturbed story, told once, from whose every moment the tests of faults begin."""

import asyncio

import pytest

from rehearsal.api.messages import ExitCode
from tests.faults.node import Ended
from tests.faults.world import World, story


@pytest.fixture(scope="package")
def moments() -> list[World]:
    """The world before each look at one undisturbed run, and after its end. Never to be changed: tests go on from a fork."""
    return asyncio.run(story())


@pytest.fixture(scope="package")
def together() -> list[World]:
    """The same of a short run that trains on two nodes, a rank of whose first attempt is killed."""
    killed = {"train": [Ended(ExitCode.KILLED)]}
    return asyncio.run(story(endings=killed, rehearsal={}, training={"nodes": 2}))
