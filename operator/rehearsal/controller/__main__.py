"""`python -m rehearsal.controller`: the operator.

Exit codes: 0 told to end · 64 the platform file is wrong · 69 no cluster to talk to, or the port is taken · 70 a part of it ended.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from rehearsal.api.messages import ExitCode, Refused
from rehearsal.cluster.port import Unavailable
from rehearsal.controller.journal import FORMATS, configure
from rehearsal.controller.platform_file import read_platform
from rehearsal.controller.process import Options, operate
from rehearsal.outside.text import shown

log = logging.getLogger(__package__)
LONGEST = 20_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the operator and return its exit code."""
    arguments = parser().parse_args(argv)
    configure(arguments.log_format)
    try:
        platform = read_platform(arguments.platform, arguments.namespace)
        return asyncio.run(operate(Options(platform, arguments.namespace, arguments.port, arguments.sweep_seconds)))
    except Refused as error:
        log.critical("%s", shown(str(error), LONGEST, lines=True))
        return error.code
    except (Unavailable, OSError) as error:
        log.critical("%s", shown(str(error)))
        return ExitCode.UNAVAILABLE
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        log.critical("unforeseen %s; please report it", type(error).__name__, exc_info=True)
        return ExitCode.BUG


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = argparse.ArgumentParser(prog="python -m rehearsal.controller", description="Carry out ReconstructionRuns on a cluster.")
    found.add_argument("--platform", type=Path, required=True, metavar="FILE", help="stores, endpoints, devices, images")
    found.add_argument("--namespace", nargs="+", default=(), metavar="NAME", help="where runs live; by default in all namespaces")
    found.add_argument("--port", type=int, default=8080, help="of /healthz and /metrics")
    found.add_argument("--sweep-seconds", type=float, default=60.0, metavar="SECONDS", help="between two looks at everything")
    found.add_argument("--log-format", choices=FORMATS, default="json")
    return found


if __name__ == "__main__":
    sys.exit(main())
