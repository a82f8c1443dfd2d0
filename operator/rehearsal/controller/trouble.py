"""Tell a run that the operator's calls for it fail: the one state that no plan can tell of, for its own calls fail."""

from datetime import datetime

from rehearsal.api.status import RunStatus
from rehearsal.cluster.port import Cluster
from rehearsal.controller.conditions import troubled
from rehearsal.controller.observe import read_run
from rehearsal.controller.record import Record
from rehearsal.controller.why import why_of


async def tell(cluster: Cluster, namespace: str, name: str, error: Exception, now: datetime) -> RunStatus | None:
    """Write why the last look at a run failed into its conditions; return the status that was written.

    None where they say so already, or this generation is over.
    The next look that succeeds sets the conditions anew. Raises whatever the port raises.
    """
    resource = await cluster.get("ReconstructionRun", namespace, name)
    if resource is None or "deletionTimestamp" in resource["metadata"]:
        return None
    run, why = read_run(resource), why_of(error)
    if any(c.reason == why.reason and why.message[:900] in c.message for c in run.status.conditions):
        return None
    ended = any((c := run.status.condition(type_)) and c.status == "True" for type_ in ("Complete", "Failed"))
    if ended and run.status.observed_generation == run.generation and not any(stage.moving for stage in run.status.stages):
        return None
    record = Record(cluster, run)
    await record.write(troubled(run.status, run, why, now))
    return record.status if record.written else None
