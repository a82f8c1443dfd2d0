"""Tell a run that its operator may not do something: the one state that no plan can tell of, because its own calls are refused."""

from datetime import datetime

from rehearsal.cluster.port import Cluster, Forbidden
from rehearsal.controller.act import merge_patch, wire
from rehearsal.controller.conditions import stalled
from rehearsal.controller.observe import read_run

REASON = "Forbidden"


async def tell_forbidden(cluster: Cluster, namespace: str, name: str, error: Forbidden, now: datetime) -> bool:
    """Write the refusal into the run's conditions, unless they say so already or this generation is over; return whether it was written.

    The next visit that succeeds sets the conditions anew. Raises whatever the port raises.
    """
    resource = await cluster.get("ReconstructionRun", namespace, name)
    if resource is None or "deletionTimestamp" in resource["metadata"]:
        return False
    run = read_run(resource)
    message = f"the operator {error}"[:1024]
    told = run.status.condition("Stalled")
    if told and (told.status, told.reason, told.message) == ("True", REASON, message):
        return False
    seen = run.status.observed_generation == run.generation
    if seen and any((over := run.status.condition(type_)) and over.status == "True" for type_ in ("Complete", "Failed")):
        return False
    patch = merge_patch(run.stored, wire(stalled(run.status, run, REASON, message, now)))
    await cluster.patch_status("ReconstructionRun", namespace, name, patch, run.resource_version)
    return True
