"""Tell a run that what its operator asked for was refused: the one state that no plan can tell of, because its own calls fail."""

from datetime import datetime

from rehearsal.cluster.port import Cluster, ClusterError, Forbidden
from rehearsal.controller.act import merge_patch, wire
from rehearsal.controller.conditions import stalled
from rehearsal.controller.observe import read_run


async def tell_refused(cluster: Cluster, namespace: str, name: str, error: ClusterError, now: datetime) -> bool:
    """Write a refusal (Forbidden, or Invalid as an admission policy has it) into the run's conditions; return whether it was written.

    It is not where they say so already, or this generation is over.
    The next visit that succeeds sets the conditions anew. Raises whatever the port raises.
    """
    resource = await cluster.get("ReconstructionRun", namespace, name)
    if resource is None or "deletionTimestamp" in resource["metadata"]:
        return False
    run = read_run(resource)
    reason = type(error).__name__
    message = (f"the operator {error}" if isinstance(error, Forbidden) else f"the API server refuses: {error}")[:1024]
    told = run.status.condition("Stalled")
    if told and (told.status, told.reason, told.message) == ("True", reason, message):
        return False
    seen = run.status.observed_generation == run.generation
    if seen and any((over := run.status.condition(type_)) and over.status == "True" for type_ in ("Complete", "Failed")):
        return False
    patch = merge_patch(run.stored, wire(stalled(run.status, run, reason, message, now)))
    await cluster.patch_status("ReconstructionRun", namespace, name, patch, run.resource_version)
    return True
