"""A command that can be killed: carries out the Job in JOB_FILE over the state in STATE, and goes on until it has finished.

`python -m tests.contract.cluster_command STATE JOB_FILE`
"""

import asyncio
import json
import signal
import sys
from pathlib import Path

from rehearsal.cluster.local import Capacity, LocalCluster
from rehearsal.cluster.port import AlreadyExists
from tests.contract.cluster_jobs import finished


async def main() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    async with LocalCluster(Path(sys.argv[1]), Capacity(cpu=4, memory=8 << 30), 0.1) as cluster:
        job = json.loads(Path(sys.argv[2]).read_text())
        try:
            await cluster.create(job)
        except AlreadyExists:
            print("the Job is there", flush=True)
        await finished(cluster, job["metadata"]["name"], 240)


if __name__ == "__main__":
    asyncio.run(main())
