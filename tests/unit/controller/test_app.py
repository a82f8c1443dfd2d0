"""What kopf is told to do, and what it must never do. That its watches work is shown against a real API server."""

from itertools import islice

import kopf
import pytest

from rehearsal.cluster.port import Manifest
from rehearsal.controller.app import Backoffs, NoMemories, registry, settings


def handlers() -> kopf.OperatorRegistry:
    return registry(lambda type_, item: None)


def test_kopf_has_handlers_of_bare_events_only() -> None:
    """Any other kind of handler makes kopf write finalizers or annotations."""
    found = handlers()
    assert len(found._watching.get_all_handlers()) == 3
    for state_keeping in (found._changing, found._spawning, found._indexing, found._webhooks):
        assert list(state_keeping.get_all_handlers()) == []


async def test_an_event_is_noted_as_it_is() -> None:
    noted: list[tuple[str | None, Manifest]] = []
    found = registry(lambda type_, item: noted.append((type_, item)))
    pod = {"kind": "Pod", "metadata": {"name": "p", "namespace": "ns"}}
    for type_ in ("ADDED", "DELETED", None):
        await found._watching.get_all_handlers()[0].fn(event={"type": type_, "object": pod})
    assert noted == [("ADDED", pod), ("DELETED", pod), (None, pod)]


def test_kopf_scans_and_posts_nothing() -> None:
    chosen = settings()
    assert chosen.scanning.disabled
    assert not chosen.posting.enabled


def test_only_our_jobs_and_pods_are_sent_by_the_server() -> None:
    selectors = {selector.any_name: text for selector, text in settings().watching.label_selectors.items()}
    assert selectors == dict.fromkeys(("jobs", "pods"), "app.kubernetes.io/managed-by=rehearsal")


@pytest.mark.fault(25)
async def test_kopf_remembers_no_object() -> None:
    memories = NoMemories()
    for uid in ("a", "b"):
        memory = await memories.recall({"metadata": {"uid": uid}}, noticed_by_listing=True)
        assert memory.noticed_by_listing
    assert list(memories.iter_all_memories()) == []


@pytest.mark.fault(11)
def test_a_watch_without_news_is_begun_anew_long_before_the_operator_would_restart() -> None:
    watching = settings().watching
    assert watching.inactivity_timeout <= 120
    assert watching.server_timeout
    assert watching.client_timeout
    assert watching.server_timeout < watching.client_timeout <= 600


@pytest.mark.fault(13)
def test_kopf_never_gives_a_request_up_and_every_request_starts_with_a_short_wait() -> None:
    backoffs = settings().networking.error_backoffs
    assert isinstance(backoffs, Backoffs)
    for _ in range(2):
        waits = list(islice(backoffs, 200))
        assert len(waits) == 200
        assert 0.5 <= waits[0] <= 1
        assert all(15 <= wait <= 30 for wait in waits[5:])
