"""Instants as the API server writes them: RFC 3339, UTC, whole seconds."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the present instant."""
    return datetime.now(UTC)


def stamp(instant: datetime) -> str:
    """Return the instant as text."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(text: str) -> datetime:
    """Return the instant that the text names."""
    return datetime.fromisoformat(text)
