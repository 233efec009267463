"""`sampan ingress`: the ingress controller, for this cluster (as pods) or any other; and ways to look into Ingresses.

The controller takes ingress-nginx's command line, which argparse cannot read: all words come here as they are.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.cli.errors import CommandError
from sampan.client.config import Config

if TYPE_CHECKING:
    from sampan.ingress.flags import Flags

PARSER: dict[str, Any] = {"prefix_chars": "\0", "add_help": False}
"""Every word is an argument, also those that begin with a dash."""

# word: (module, function of it), instead of serving
ACTIONS: dict[str, tuple[str, str]] = {
    "test": ("ingress_look", "run_test"),
    "migrate": ("ingress_look", "run_migrate"),
    "wait-shutdown": ("ingress", "wait_shutdown"),
}
ENTRY_NAMES = ("/nginx-ingress-controller", "nginx-ingress-controller")
LOG_FORMAT = "%(levelname).1s%(asctime)s %(name)s] %(message)s"
TIME_FORMAT = "%m%d %H:%M:%S"
PODS_DIRECTORY = Path("/etc/nginx")
HELP = """\
usage: sampan ingress [FLAG…]                serve Ingresses: in a pod, or with --kubeconfig anywhere
       sampan ingress test URL [OPTION…]     what a request would meet
       sampan ingress migrate [OPTION…]      what will differ from the ingress-nginx that runs now

The flags are those of ingress-nginx (docs/ingress.md); of our own:
  --context NAME              context of the kubeconfig (default: the current one)
  --nginx-directory DIR       where nginx.conf is written (default: /etc/nginx in a pod)
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*")


def run(options: argparse.Namespace) -> int:
    words: list[str] = options.words
    if words and words[0] in ACTIONS:
        module, function = ACTIONS[words[0]]
        status: int = getattr(importlib.import_module(f"sampan.cli.{module}"), function)(words[1:])
        return status
    if words and words[0] in ENTRY_NAMES:
        words = words[1:]
    if any(word in ("-h", "--help") for word in words):
        print(HELP, end="")
        raise SystemExit(0)
    return _serve(words)


def _serve(words: list[str]) -> int:
    """The parent imports the controller's code, so that one that follows a dead one starts at once."""
    from sampan.ingress.flags import FlagError, parse
    from sampan.ingress.parent import Parent

    rest, own = _own_flags(words)
    try:
        flags, idle = parse(rest)
    except FlagError as error:
        raise CommandError(str(error), status=2) from error
    if flags.version:
        print(_version())
        return 0
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, datefmt=TIME_FORMAT, stream=sys.stderr)
    for sentence in idle:
        logging.getLogger("sampan.ingress").info("%s", sentence)
    directory = Path(own.get("nginx-directory") or (PODS_DIRECTORY if not flags.kubeconfig else ""))
    if directory == Path():
        raise CommandError("outside of a pod, --nginx-directory says where nginx's configuration is to be written")
    from sampan.ingress.main import end_nginx

    def child(channel: socket.socket) -> int:
        return _control(flags, directory, own, channel)

    return Parent(child, lambda: end_nginx(directory)).run()


def _own_flags(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """The words without the flags that ingress-nginx does not have, and those."""
    rest, own, left = [], {}, list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if name not in ("context", "nginx-directory", "created-events") or not word.startswith("--"):
            rest.append(word)
        elif name == "created-events":
            own[name] = "true"
        else:
            own[name] = value if equals else left.pop(0) if left else ""
    return rest, own


def _control(flags: Flags, directory: Path, own: dict[str, str], channel: socket.socket) -> int:
    """The controller's own process."""
    from sampan.cli.serving import serve
    from sampan.ingress.main import IngressOptions
    from sampan.ingress.main import run as run_controller

    try:
        options = IngressOptions(
            config=_config(flags, own.get("context") or None),
            flags=flags,
            directory=directory,
            namespace=os.environ.get("POD_NAMESPACE", ""),
            pod=os.environ.get("POD_NAME", ""),
            tells_creation="created-events" in own,
        )
        return serve(run_controller(options, channel))
    except CommandError as error:
        print(f"sampan: {error}", file=sys.stderr)
        return error.status


def _config(flags: Flags, context: str | None) -> Config:
    """How to reach the API server. Raises CommandError."""
    from sampan.cli.serving import client_config

    if flags.apiserver_host and not flags.kubeconfig:
        return Config(server=flags.apiserver_host.rstrip("/"), ca_file=flags.certificate_authority)
    found = client_config(Path(flags.kubeconfig) if flags.kubeconfig else None, context)
    server = flags.apiserver_host.rstrip("/") or found.server
    return replace(found, server=server, ca_file=flags.certificate_authority or found.ca_file)


def wait_shutdown(words: list[str]) -> int:
    """What `/wait-shutdown` does, which manifests call before a container ends: end nginx in order, and wait for it."""
    import signal
    import time

    os.kill(1, signal.SIGTERM)
    while True:
        time.sleep(1)


def _version() -> str:
    from sampan import __version__

    return f"Sampan ingress controller {__version__}"
