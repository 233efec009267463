"""The `sampan` command: finds the subcommand in a table, imports only that one, and turns its errors into messages.

Each command is a module of this package with `arguments(parser)` and `run(options) -> exit status`. The table lists
them with their help, so that `sampan --help` imports none.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from sampan import __version__
from sampan.cli.errors import CommandError

# name: (module, one line of help), in the order of a cluster's life
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("up", "create a cluster and wait until it is usable"),
    "down": ("down", "remove a cluster and everything it has put anywhere"),
    "status": ("status", "tell how clusters are"),
    "stop": ("stop", "end a cluster, but keep its state"),
    "start": ("start", "resume a stopped cluster"),
    "shell": ("shell", "run a shell or a command inside the cluster's network"),
    "explain": ("explain", "follow a request to a Service or an Ingress, and tell what is wrong"),
    "publish": ("publish", "make a Service answer on this machine's loopback"),
    "logs": ("logs", "show what a component has logged"),
    "image": ("image", "load, pull, list and remove images"),
    "kubeconfig": ("kubeconfig", "print the kubeconfig of a cluster"),
    "proxy-mode": ("proxy_mode", "choose how Services become kernel rules, also while the cluster runs"),
    "proxy": ("proxy", "do kube-proxy's job on a node of any cluster; preview it, or undo it"),
    "loadbalancer": ("loadbalancer", "give Services of type LoadBalancer addresses on a LAN, in any cluster"),
    "dns": ("dns", "serve cluster DNS (runs as pods in the cluster)"),
    "ingress": ("ingress", "serve Ingresses with nginx in the place of ingress-nginx; test and migrate them"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script's entry point."""
    _fill_standard_descriptors()
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except CommandError as error:
        for line in str(error).splitlines():
            print(f"sampan: {line}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except OSError as error:
        print(f"sampan: {_reason(error)}", file=sys.stderr)
        return 1


def _run(given: list[str]) -> int:
    chosen = next((word for word in given if not word.startswith("-")), None)
    parser = _parser(chosen)
    options = parser.parse_args(given)
    if options.command is None:
        parser.print_help()
        return 2
    return int(options.run(options))


def _reason(error: OSError) -> str:
    """What the machine has refused, and what to do about it."""
    reason = error.strerror or str(error)
    text = f"{error.filename}: {reason}" if error.filename else reason
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        text += "; clusters belong to the user who made them, root: run it with sudo"
    return text


def _fill_standard_descriptors() -> None:
    """Opens standard input, output and error if they are closed, so that nothing else gets their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """A parser that knows all commands by name, and the chosen one's arguments."""
    parser = argparse.ArgumentParser(
        prog="sampan", description="A real Kubernetes cluster on one Linux machine, in about a second."
    )
    parser.add_argument("--version", action="version", version=f"sampan {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for name, (module, help) in COMMANDS.items():
        loaded = importlib.import_module(f"sampan.cli.{module}") if name == chosen else None
        form = getattr(loaded, "PARSER", {})
        command = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.", **form)
        if loaded is not None:
            loaded.arguments(command)
            command.set_defaults(run=loaded.run)
    return parser
