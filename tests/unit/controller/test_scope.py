"""Namespaces are swept each for itself: one that may not be read keeps no other from being seen."""

import logging

import pytest

from rehearsal.cluster.port import Forbidden, Unavailable
from rehearsal.controller.metrics import Metrics
from rehearsal.controller.queue import Key
from rehearsal.controller.scope import Scope

REFUSAL = Forbidden("may not list Job in b")


def scope_of(answers: dict[str | None, set[Key] | Exception], *namespaces: str) -> Scope:
    async def refresh(namespace: str | None) -> set[Key]:
        answer = answers[namespace]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Scope(namespaces, refresh, Metrics())


async def test_without_namespaces_all_are_listed_at_once() -> None:
    assert await scope_of({None: {("a", "x")}}).refresh() == {("a", "x")}


@pytest.mark.fault(15)
@pytest.mark.parametrize("order", [("a", "b", "c"), ("b", "a", "c"), ("a", "c", "b")])
async def test_a_namespace_that_may_not_be_listed_keeps_no_other_from_being_swept(
    order: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    scope = scope_of({"a": {("a", "x")}, "b": REFUSAL, "c": {("c", "y")}}, *order)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert await scope.refresh() == {("a", "x"), ("c", "y")}
    assert [record.getMessage() for record in caplog.records] == ["runs in b are not seen: the operator may not list Job in b"]


async def test_where_nothing_may_be_listed_the_sweep_fails() -> None:
    with pytest.raises(Forbidden):
        await scope_of({"a": REFUSAL, "b": REFUSAL}, "a", "b").refresh()


async def test_an_api_server_that_does_not_answer_fails_the_sweep() -> None:
    with pytest.raises(Unavailable):
        await scope_of({"a": set(), "b": Unavailable("away")}, "a", "b").refresh()
