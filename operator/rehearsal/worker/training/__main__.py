"""A training rank, started by torchrun: `python -m rehearsal.worker.training <settings.json>`. Its end goes to the events file."""

import ctypes
import os
import signal
import sys
import traceback
from pathlib import Path

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Train and export. A rank that fails leaves at once: the others may be waiting for it in a collective."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # torchrun cannot end its ranks when it is itself killed
    from rehearsal.worker.training.failures import report  # noqa: PLC0415 - torch comes after the line above
    from rehearsal.worker.training.settings import Settings  # noqa: PLC0415

    settings = Settings.load(Path(sys.argv[1]))
    try:
        from rehearsal.worker.training.device import expect  # noqa: PLC0415

        expect(settings.device)
        from rehearsal.worker.training.rank import train  # noqa: PLC0415 - DeepSpeed settles on a device when it is imported

        train(settings)
    except BaseException as error:  # noqa: BLE001 - the last line of defence of a rank; libraries call sys.exit, and panic
        traceback.print_exception(error)
        report(Path(settings.events), error, int(os.environ["RANK"]))
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()
