"""`sampan status`: clusters at a glance; for one cluster its components and published ports."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence

import msgspec

from sampan.cli.clusters import add_name, configuration, existing, flag
from sampan.cli.errors import CommandError
from sampan.cluster import control, launch, paths
from sampan.cluster.control import ClusterStatus
from sampan.cluster.paths import ClusterPaths
from sampan.cluster.preflight import LOOPBACK
from sampan.cluster.usage import start_seconds, usage


def arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("--names", action="store_true", help="print the clusters' names alone")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text", help="default: %(default)s")


def run(options: argparse.Namespace) -> int:
    """Exit status 0 if all is well, 1 if a component is not ready, 3 if the cluster is stopped."""
    clusters = paths.clusters(paths.home())
    if options.names:
        print("".join(f"{one.name}\n" for one in clusters), end="")
        return 0
    if options.output == "json":
        return _json([existing(options.name)] if options.name else clusters)
    if options.name is None:
        return _overview(clusters)
    return _detail(existing(options.name))


def _json(clusters: Sequence[ClusterPaths]) -> int:
    """One object for one cluster, else a list."""
    documents = [_document(cluster) for cluster in clusters]
    whole = documents[0] if len(documents) == 1 else documents
    print(msgspec.json.format(msgspec.json.encode(whole)).decode())
    return 0


def _document(cluster: ClusterPaths) -> dict[str, object]:
    config = configuration(cluster)
    document: dict[str, object] = {
        "name": cluster.name,
        "context": cluster.context,
        "api": f"https://{LOOPBACK}:{config.api_port}",
        "running": launch.is_running(cluster),
    }
    if document["running"]:
        status = _ask(cluster)
        used = usage(cluster, status.box_pid)
        document |= {
            "startSeconds": start_seconds(cluster),
            "processes": used.processes,
            "memoryBytes": used.memory,
            "components": status.components,
            "published": status.published,
            "outbound": status.outbound,
        }
    return document


def _ask(cluster: ClusterPaths) -> ClusterStatus:
    try:
        return control.ask(cluster.control, control.Status(), ClusterStatus)
    except control.ControlError as error:
        raise CommandError(str(error)) from error


def _overview(clusters: Sequence[ClusterPaths]) -> int:
    if not clusters:
        print("There is no cluster; create one with: sampan up")
        return 0
    if len(clusters) == 1:
        return _detail(clusters[0])
    rows = [("NAME", "STATE", "NODES", "API")]
    for cluster in clusters:
        config = configuration(cluster)
        state = "running" if launch.is_running(cluster) else "stopped"
        rows.append((cluster.name, state, str(len(config.node_list)), f"https://{LOOPBACK}:{config.api_port}"))
    _table(rows)
    return 0


def _detail(cluster: ClusterPaths) -> int:
    config = configuration(cluster)
    print(f"Cluster {cluster.name!r}, context {cluster.context}, API https://{LOOPBACK}:{config.api_port}")
    if not launch.is_running(cluster):
        print(f"stopped; resume it with: sampan start{flag(cluster)}")
        return 3
    status = _ask(cluster)
    used = usage(cluster, status.box_pid)
    print(f"running; {used.processes} processes, {used.memory / 2**20:.0f} MiB (PSS), pods included")
    print(f"way out: {status.outbound}\n")
    _print_components(status)
    if status.published:
        print()
        _print_published(status)
    return 0 if all(one.state in ("ready", "done") for one in status.components) else 1


def _print_components(status: ClusterStatus) -> None:
    now = time.time()
    rows = [("COMPONENT", "STATE", "PID", "RESTARTS", "SINCE")]
    for one in status.components:
        pid = str(one.pid) if one.pid else "-"
        since = f"{now - one.since:.0f}s" if one.since else "-"
        rows.append((one.name, one.state, pid, str(one.restarts), since))
    _table(rows)


def _print_published(status: ClusterStatus) -> None:
    rows = [("PUBLISHED", "PROTOCOL", "LEADS TO")]
    rows += [(one.place, one.protocol, one.target) for one in status.published]
    _table(rows)


def _table(rows: Iterable[Sequence[str]]) -> None:
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
