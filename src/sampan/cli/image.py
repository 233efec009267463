"""`sampan image`: the images that pods can run, shared by all clusters and nodes of this machine."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from sampan.cli.clusters import configuration, running
from sampan.cli.errors import CommandError
from sampan.cluster import control, paths
from sampan.cluster.paths import ClusterPaths
from sampan.node.images.dialing import MACHINE, Ways
from sampan.node.images.reference import parse
from sampan.node.images.store import ImageStore
from sampan.node.images.types import ImageError


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    load = actions.add_parser("load", help="add the images of an archive (docker save, or OCI)")
    load.add_argument("archives", nargs="+", type=Path, metavar="FILE")
    pull = actions.add_parser("pull", help="get images from their registry")
    pull.add_argument("images", nargs="+", metavar="IMAGE")
    pull.add_argument("--name", default=None, help="the cluster meant by addresses that several clusters have")
    actions.add_parser("ls", help="list the images")
    remove = actions.add_parser("rm", help="remove images")
    remove.add_argument("images", nargs="+", metavar="IMAGE")


def run(options: argparse.Namespace) -> int:
    try:
        root = paths.images(paths.home())
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _ACTIONS[options.action](ImageStore(root), options)
    except (ImageError, control.ControlError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error
    return 0


def _load(store: ImageStore, options: argparse.Namespace) -> None:
    for archive in options.archives:
        for image in asyncio.run(store.load(archive)):
            print(image.reference)


def _pull(store: ImageStore, options: argparse.Namespace) -> None:
    for reference in options.images:
        reached = ImageStore(store.root, ways=_ways(reference, options.name))
        print(asyncio.run(reached.pull(reference)).reference)


def _ways(reference: str, name: str | None) -> Ways:
    """Into the cluster whose address the registry has, if it is one; else as the machine itself reaches it."""
    host = urlsplit(f"//{parse(reference).domain}").hostname or ""
    meant = [cluster for cluster in _running(name) if _has(cluster, host)]
    if not meant:
        return MACHINE
    if len(meant) > 1:
        several = ", ".join(cluster.name for cluster in meant)
        raise CommandError(f"{host} is an address of several clusters ({several}): choose one with --name")
    status = control.ask(meant[0].control, control.Status(), control.ClusterStatus)
    return Ways(cluster=configuration(meant[0]).ranges, inside=Path(f"/proc/{status.box_pid}/ns/net"))


def _running(name: str | None) -> list[ClusterPaths]:
    from sampan.cluster import launch

    if name is not None:
        return [running(name)]
    return [one for one in paths.clusters(paths.home()) if one.config.exists() and launch.is_running(one)]


def _has(cluster: ClusterPaths, host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(one) for one in configuration(cluster).ranges)


def _list(store: ImageStore, _: argparse.Namespace) -> None:
    for image in store.list():
        print(f"{image.reference:<60} {image.id.removeprefix('sha256:')[:12]}  {image.size / 2**20:8.1f} MiB")


def _remove(store: ImageStore, options: argparse.Namespace) -> None:
    missing = [reference for reference in options.images if not store.remove(reference)]
    if missing:
        raise CommandError(f"no such image: {', '.join(missing)}")


_ACTIONS: dict[str, Callable[[ImageStore, argparse.Namespace], None]] = {
    "load": _load,
    "pull": _pull,
    "ls": _list,
    "rm": _remove,
}
