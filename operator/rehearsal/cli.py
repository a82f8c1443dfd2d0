"""The command: `rehearsal run`, `rehearsal plan`, `rehearsal report`. One machine, the manifest a cluster would get.

Exit codes: 0 done · 64 refused · the failed stage's own code · 130 interrupted (the same command goes on later).
"""

import argparse
import asyncio
import sys
import tempfile
import traceback
from pathlib import Path

from rich.console import Console

from rehearsal.api.messages import ExitCode, Refused, StageError
from rehearsal.api.status import RunStatus, State
from rehearsal.cluster.port import ClusterError
from rehearsal.console.interruption import Interrupted
from rehearsal.console.live import LiveView
from rehearsal.console.machine import platform_of
from rehearsal.console.manifest import check_names, read_for_one_machine, read_manifest
from rehearsal.console.outcome import export_report, plan_table, print_comparison, summary
from rehearsal.console.session import carry_out, look_ahead, now, recorded, run_until_done, state_folder
from rehearsal.outside.text import shown

INTERRUPTED = 130
LONGEST = 20_000


def main() -> None:
    """Entry point: every fault with a name ends as one clear line, never as a traceback."""
    arguments = _parser().parse_args()
    console, errors = Console(), Console(stderr=True)
    try:
        code = arguments.command(arguments, console)
    except Interrupted as interrupted:
        errors.print(str(interrupted), style="yellow", markup=False, highlight=False, soft_wrap=True)
        code = INTERRUPTED
    except (KeyboardInterrupt, asyncio.CancelledError):
        errors.print(str(Interrupted(())), style="yellow", markup=False, highlight=False, soft_wrap=True)
        code = INTERRUPTED
    except StageError as error:
        _say(errors, f"{error.reason}: {error}", "red")
        code = error.code
    except ClusterError as error:
        _say(errors, str(error), "red")
        code = ExitCode.UNAVAILABLE
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _say(errors, f"{error.strerror or error}{where}", "red")
        code = ExitCode.DISK
    except SystemExit:
        raise
    except BaseException:
        details = Path(tempfile.mkstemp(prefix="rehearsal-bug-", suffix=".log")[1])
        details.write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
        _say(errors, f"A bug of ours; the details are in {details}. Please report it.", "red")
        code = ExitCode.BUG
    sys.exit(code)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Carry out one run."""
    manifest = read_for_one_machine(arguments.manifest)
    platform = platform_of(arguments.manifest, arguments.platform)
    check_names(arguments.manifest, platform)
    state = state_folder(arguments.manifest, manifest["metadata"])
    name, before = manifest["metadata"]["name"], recorded(state, manifest["metadata"])
    with LiveView(console, name, now) as view:
        status: RunStatus | None = run_until_done(carry_out(manifest, platform, state, view))
    if status is None:
        raise Refused(f"{name} was deleted while it ran", "Deleted")
    failed = next((stage for stage in status.stages if stage.state is State.FAILED), None)
    if failed or not (done := status.condition("Complete")) or done.status != "True":
        return _explain_failure(status, state)
    page = export_report(platform, manifest, status, state)
    _say(console, summary(name, before, status, page))
    return ExitCode.DONE


def plan(arguments: argparse.Namespace, console: Console) -> int:
    """Print what a run would do."""
    manifest = read_for_one_machine(arguments.manifest)
    platform = platform_of(arguments.manifest, arguments.platform)
    check_names(arguments.manifest, platform)
    state = state_folder(arguments.manifest, manifest["metadata"])
    status: RunStatus = run_until_done(look_ahead(manifest, platform, state))
    if any(stage.state is State.FAILED for stage in status.stages) or not status.inputs_key:
        return _explain_failure(status, None)
    console.print(plan_table(status))
    return ExitCode.DONE


def report(arguments: argparse.Namespace, console: Console) -> int:
    """Compare finished runs: a table here, a page beside the first manifest."""
    runs = []
    for path in arguments.manifests:
        manifest, _ = read_manifest(path)
        runs.append((manifest, platform_of(path, arguments.platform), state_folder(path, manifest["metadata"])))
    print_comparison(console, runs)
    return ExitCode.DONE


def _explain_failure(status: RunStatus, state: Path | None) -> int:
    errors = Console(stderr=True)
    failed = next((stage for stage in status.stages if stage.state is State.FAILED), None)
    condition = status.condition("Suspended") if status.condition("Suspended") else None
    if failed is None and condition and condition.status == "True":
        errors.print("The run is suspended: set spec.suspend to false to go on.", style="yellow")
        return ExitCode.DONE
    words = f"{failed.name} failed. {failed.message}" if failed else (status.condition("Failed") or status.conditions[0]).message
    _say(errors, words, "red")
    if state:
        _say(errors, f"Logs: {state / 'logs'}", "dim")
    return failed.exit_code or ExitCode.BUG if failed else ExitCode.REFUSED


def _say(console: Console, text: str, style: str | None = None) -> None:
    """Print text as it stands, printable whatever it holds."""
    console.print(shown(text, LONGEST, lines=True), style=style, markup=False, highlight=False, soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rehearsal", description="Specialise an aligned language model without making it forget.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = (("run", run, "carry out a run on this machine"), ("plan", plan, "say what a run would do, and why"))
    for name, command, text in one:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("manifest", type=Path, metavar="RUN.yaml")
        sub.add_argument(
            "--platform", type=Path, metavar="FILE", help="stores and devices; by default platform.yaml beside the manifest"
        )
        sub.set_defaults(command=command)
    sub = commands.add_parser("report", help="compare finished runs", description="compare finished runs")
    sub.add_argument("manifests", type=Path, nargs="+", metavar="RUN.yaml")
    sub.add_argument("--platform", type=Path, metavar="FILE")
    sub.set_defaults(command=report)
    return parser


if __name__ == "__main__":
    main()
