"""Launching a cluster and following it on the terminal; `up` and `start` differ only in what is there before."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from sampan.cli.clusters import flag
from sampan.cli.errors import CommandError
from sampan.cluster import control, hostnetwork, hostports, kubeconfig, launch, preflight, teardown
from sampan.cluster.components import Context, log_file, table
from sampan.cluster.config import ClusterConfig
from sampan.cluster.paths import ClusterPaths
from sampan.cluster.preflight import LOOPBACK
from sampan.cluster.progress import Down, Late, Progress, Step
from sampan.cluster.usage import note_start

LOG_LINES = 8
PATIENCE = 60.0


def add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=float, default=PATIENCE, metavar="SECONDS", help=f"how long to wait (default: {PATIENCE:.0f})"
    )


def reserve(config: ClusterConfig, cluster: ClusterPaths) -> Context:
    """Checks the machine and takes every port that the cluster will have of it, before anything is made.

    Ports that were left open are filled in. Raises CommandError.
    """
    import msgspec

    try:
        preflight.check()
        hostnetwork.check(config, cluster)
        config, mapped = hostports.take(config)
        listener = preflight.listen(config.api_port)
    except (preflight.PreflightError, hostnetwork.HostNetworkError, hostports.PortTaken) as error:
        raise CommandError(str(error)) from error
    return Context(msgspec.structs.replace(config, api_port=listener.getsockname()[1]), cluster, (listener,), mapped)


def launch_and_wait(context: Context, began: float, patience: float) -> None:
    """Starts the box and prints each step with the time since `began`.

    Raises CommandError, also if it takes longer than `patience` seconds; the box has then ended, as on an interrupt.
    """
    config, cluster = context.config, context.paths
    try:
        steps = launch.launch(table(config), context, patience)
        for one in (*context.api_sockets, *context.mapped):
            one.close()
        _follow(steps, config, cluster, began)
        note_start(cluster, time.monotonic() - began)
    except launch.AlreadyRunning as error:
        raise CommandError(f"{error}; remove it with: sampan down{flag(cluster)}") from error
    except BaseException:
        _end_quietly(cluster)
        raise


def _follow(steps: Iterable[Progress], config: ClusterConfig, cluster: ClusterPaths, began: float) -> None:
    for step in steps:
        match step:
            case Step(text, component):
                _print(began, text)
                if component == "apiserver":
                    write_kubeconfigs(config, cluster)
            case Late(error):
                raise CommandError(_unready(error, cluster))
            case Down(error, component):
                raise CommandError(_explained(error, component, cluster))


def _print(began: float, text: str) -> None:
    print(f"{time.monotonic() - began:6.2f}s  {text}", flush=True)


def _explained(error: str, component: str, cluster: ClusterPaths) -> str:
    """The error with the end of the culprit's log."""
    log = log_file(cluster.logs, component or "supervisor")
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
    return "\n".join([error, *(f"  {log.stem}: {line}" for line in lines)])


def _unready(error: str, cluster: ClusterPaths) -> str:
    """The error with the components that are not ready and the ends of their logs."""
    try:
        components = control.ask(cluster.control, control.Status(), control.ClusterStatus).components
    except control.ControlError as refused:
        return f"{error}; {refused}"
    missing = [one for one in components if one.state not in ("ready", "done")]
    return "\n".join(_explained(f"{error}: {one.name} is {one.state}", one.name, cluster) for one in missing)


def write_kubeconfigs(config: ClusterConfig, cluster: ClusterPaths) -> None:
    """The cluster's own kubeconfig, and its context in the user's. A user's file that is broken is only told of."""
    entry = kubeconfig.entry(cluster.context, f"https://{LOOPBACK}:{config.api_port}", cluster.pki)
    kubeconfig.write(cluster.kubeconfig, entry)
    target = Path(cluster.merged.read_text()) if cluster.merged.exists() else kubeconfig.user_file().absolute()
    try:
        kubeconfig.add(target, entry)
    except (kubeconfig.KubeconfigError, OSError) as error:
        print(f"sampan: {error}\nsampan: use: export KUBECONFIG={cluster.kubeconfig}", file=sys.stderr)
        return
    cluster.merged.write_text(str(target))


def _end_quietly(cluster: ClusterPaths) -> None:
    try:
        teardown.stop(cluster)
    except teardown.LeftBehind as left:
        print(f"sampan: still there:\n{left}", file=sys.stderr)
