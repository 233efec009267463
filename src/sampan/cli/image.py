"""`sampan image`: the images that pods can run, shared by all clusters and nodes of this machine."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path

from sampan.cli.errors import CommandError
from sampan.cluster import paths
from sampan.node.images.store import ImageStore
from sampan.node.images.types import ImageError


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    load = actions.add_parser("load", help="add the images of an archive (docker save, or OCI)")
    load.add_argument("archives", nargs="+", type=Path, metavar="FILE")
    pull = actions.add_parser("pull", help="get images from their registry")
    pull.add_argument("images", nargs="+", metavar="IMAGE")
    actions.add_parser("ls", help="list the images")
    remove = actions.add_parser("rm", help="remove images")
    remove.add_argument("images", nargs="+", metavar="IMAGE")


def run(options: argparse.Namespace) -> int:
    try:
        root = paths.images(paths.home())
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _ACTIONS[options.action](ImageStore(root), options)
    except ImageError as error:
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
        print(asyncio.run(store.pull(reference)).reference)


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
