"""The command: `python -m tests.onenode up | down | load IMAGE… | kubelet stop|start | apiserver stop|start`."""

import argparse
import sys
import time

from tests.onenode import cluster, images
from tests.onenode.layout import KUBECONFIG
from tests.onenode.machine import Unfit


def main() -> int:
    """Carry out one command and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.onenode", description="A one-node Kubernetes cluster on this machine.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="start it, or what of it does not run")
    verbs.add_parser("down", help="end it and leave nothing behind")
    verbs.add_parser("load", help="bring local images to the node").add_argument("names", nargs="+", metavar="IMAGE")
    for server in ("kubelet", "apiserver"):
        verbs.add_parser(server, help="end or start it, to see what happens").add_argument("action", choices=["stop", "start"])
    arguments = parser.parse_args()
    try:
        _carry_out(arguments)
    except (Unfit, images.Unknown, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _carry_out(arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    if arguments.verb == "up":
        cluster.up()
        print(f"The cluster is up, after {time.monotonic() - started:.0f} s:  export KUBECONFIG={KUBECONFIG}")
    elif arguments.verb == "down":
        print("\n".join(f"removed {thing}" for thing in cluster.down()) or "there is no cluster")
    elif arguments.verb == "load":
        cluster.check_up()
        for name in arguments.names:
            print(f"{images.load(name)} is on the node")
    else:
        {"stop": cluster.stop, "start": cluster.start}[arguments.action](arguments.verb)


if __name__ == "__main__":
    sys.exit(main())
