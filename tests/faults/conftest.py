"""The undisturbed story, told once, from whose every moment the tests of faults begin."""

import asyncio

import pytest

from tests.faults.world import World, story


@pytest.fixture(scope="package")
def moments() -> list[World]:
    """The world before each look at one undisturbed run, and after its end. Never to be changed: tests go on from a fork."""
    return asyncio.run(story())
