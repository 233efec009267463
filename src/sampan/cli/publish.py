"""`sampan publish`: a Service of the cluster on this machine's loopback."""

from __future__ import annotations

import argparse

from sampan.cli.clusters import add_name, running
from sampan.cli.errors import CommandError
from sampan.cluster import control
from sampan.cluster.control import ClusterStatus, Done, Publication, Publish, Published, Status, Unpublish
from sampan.cluster.preflight import LOOPBACK


def arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("-n", "--namespace", default="default", help="the Service's namespace (default: default)")
    parser.add_argument("--remove", action="store_true", help="stop publishing: HOSTPORT or SERVICE[:PORT]")
    parser.add_argument("service", nargs="?", metavar="SERVICE[:PORT]", help="port by number or name (none: list)")
    parser.add_argument("host_port", nargs="?", type=int, default=0, metavar="HOSTPORT", help="default: any free one")


def run(options: argparse.Namespace) -> int:
    cluster = running(options.name)
    try:
        published = control.ask(cluster.control, Status(), ClusterStatus).published
        if options.service is None:
            _list(published)
        elif options.remove:
            control.ask(cluster.control, Unpublish(host_port=_port_of(options, published)), Done)
        else:
            print(_address(control.ask(cluster.control, _wanted(options), Published).publication))
    except control.ControlError as error:
        raise CommandError(str(error)) from error
    return 0


def _wanted(options: argparse.Namespace) -> Publish:
    service, _, port = options.service.partition(":")
    return Publish(namespace=options.namespace, service=service, port=port, host_port=options.host_port)


def _port_of(options: argparse.Namespace, published: list[Publication]) -> int:
    if options.service.isdigit():
        return int(options.service)
    wanted = _wanted(options)
    for one in published:
        if (one.namespace, one.service, one.port) == (wanted.namespace, wanted.service, wanted.port):
            return one.host_port
    raise CommandError(f"{options.namespace}/{options.service} is not published")


def _list(published: list[Publication]) -> None:
    for one in published:
        port = f":{one.port}" if one.port else ""
        print(f"{_address(one)}  {one.namespace}/{one.service}{port}")


def _address(publication: Publication) -> str:
    return f"{LOOPBACK}:{publication.host_port}"
