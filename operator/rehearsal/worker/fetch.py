"""Bring what a run names on a hub into the store, once: a model, or a well-known data set. The only stage with a way out."""

import os

from rehearsal.api.messages import Refused
from rehearsal.worker.context import Context, Outcome


def run(context: Context) -> Outcome:
    """Seal what the stage is to bring; what is in the store already is not brought again."""
    if sealed := context.output.manifest():
        return Outcome(sealed)
    if context.task.hub is None:
        raise Refused(f"{context.stage.name} knows no hub: use images of the same release", "ReleaseMismatch")
    _settle(context)
    from rehearsal.worker.fetch_dataset import fetch_dataset  # noqa: PLC0415 - reads the environment when it is imported
    from rehearsal.worker.fetch_model import fetch_model  # noqa: PLC0415
    from rehearsal.worker.hub import HubClient  # noqa: PLC0415

    hub = HubClient(context.task.hub.url, os.environ.get("HF_TOKEN"))
    bring = {"model": fetch_model, "dataset": fetch_dataset}.get(str(context.stage.subject))
    if bring is None:
        raise Refused(f"{context.stage.name}: this release brings no suites yet: preflight says so", "NotAvailable")
    return Outcome(bring(context, hub))


def _settle(context: Context) -> None:
    """What the hub's library reads when it is imported: caches on scratch, plain HTTP from the one hub, no telemetry."""
    os.environ |= {
        "HF_HOME": str(context.scratch / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
