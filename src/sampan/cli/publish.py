"""`sampan publish`: Services of the cluster on this machine's loopback."""

from __future__ import annotations

import argparse

from sampan.cli.clusters import add_name, running
from sampan.cli.errors import CommandError
from sampan.cluster import control
from sampan.cluster.control import ClusterStatus, Done, Publication, Publish, Published, Status, Unpublish

INGRESS_NAMESPACE, INGRESS_SERVICE = "ingress-nginx", "ingress-nginx-controller"
HTTP, HTTPS = "80", "443"

_EXAMPLES = """\
examples:
  sampan publish web                                 every port of Service web, on free ports
  sampan publish web:http 8080                       its port `http` on 127.0.0.1:8080
  sampan publish -n kube-system kube-dns:53 5353     TCP and UDP
  sampan publish -n kube-system kube-dns:53/udp      UDP alone
  sampan publish --ingress --http-port 80 --https-port 443
  sampan publish                                     what is published
  sampan publish --remove web                        all of Service web
  sampan publish --remove 8080                       what is on port 8080
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLES
    add_name(parser)
    parser.add_argument("-n", "--namespace", default="default", help="the Service's namespace (default: default)")
    parser.add_argument(
        "--remove", action="store_true", help="stop publishing: HOSTPORT or SERVICE[:PORT], or --ingress"
    )
    parser.add_argument("--ingress", action="store_true", help=f"Service {INGRESS_NAMESPACE}/{INGRESS_SERVICE}")
    for name, port in (("--http-port", HTTP), ("--https-port", HTTPS)):
        help = f"with --ingress, where its port {port} answers (default: any free one)"
        parser.add_argument(name, type=int, default=None, metavar="HOSTPORT", help=help)
    parser.add_argument(
        "service", nargs="?", metavar="SERVICE[:PORT[/PROTOCOL]]", help="PORT by number or name (default: all it has)"
    )
    parser.add_argument("host_port", nargs="?", type=int, default=0, metavar="HOSTPORT", help="default: any free one")


def run(options: argparse.Namespace) -> int:
    _check(options)
    cluster = running(options.name)
    try:
        published = control.ask(cluster.control, Status(), ClusterStatus).published
        if options.remove:
            for one in _meant(options, published):
                control.ask(cluster.control, Unpublish(host_port=one.host_port, protocol=one.protocol), Done)
        elif options.service is None and not options.ingress:
            _list(published)
        else:
            for one in control.ask(cluster.control, _wanted(options), Published).publications:
                print(one.place + (f"/{one.protocol.lower()}" if one.protocol != "TCP" else ""))
    except control.ControlError as error:
        raise CommandError(_with_hint(options, str(error))) from error
    return 0


def _check(options: argparse.Namespace) -> None:
    if options.ingress and options.service is not None:
        raise CommandError("--ingress names the Service; give its ports with --http-port and --https-port")
    if not options.ingress and (options.http_port is not None or options.https_port is not None):
        raise CommandError("--http-port and --https-port go with --ingress")
    if options.remove and options.service is None and not options.ingress:
        raise CommandError("--remove: what? HOSTPORT, SERVICE[:PORT] or --ingress")
    for port in (options.http_port or 0, options.https_port or 0, options.host_port):
        if not 0 <= port <= 65535:
            raise CommandError(f"{port} is not a port")


def _with_hint(options: argparse.Namespace, error: str) -> str:
    hint = "; --ingress publishes the Service of an ingress controller, which this cluster must have first"
    return error + hint if options.ingress and "not found" in error else error


def _wanted(options: argparse.Namespace) -> Publish:
    if options.ingress:
        ports = {f"{HTTP}/TCP": options.http_port or 0, f"{HTTPS}/TCP": options.https_port or 0}
        return Publish(namespace=INGRESS_NAMESPACE, service=INGRESS_SERVICE, ports=ports)
    service, _, port = options.service.partition(":")
    return Publish(namespace=options.namespace, service=service, ports={port: options.host_port})


def _meant(options: argparse.Namespace, published: list[Publication]) -> list[Publication]:
    """What is to be published no longer. Raises CommandError if there is no such thing."""
    if options.service is not None and options.service.isdigit():
        found = [one for one in published if one.host_port == int(options.service)]
        if not found:
            raise CommandError(f"nothing is published on port {options.service}")
        return found
    wanted = _wanted(options)
    found = [
        one
        for one in published
        if (one.namespace, one.service) == (wanted.namespace, wanted.service)
        and any(_means(named, one) for named in wanted.ports)
    ]
    if not found:
        raise CommandError(f"{wanted.namespace}/{options.service or wanted.service} is not published")
    return found


def _means(named: str, publication: Publication) -> bool:
    port, _, protocol = named.partition("/")
    return port in ("", publication.port) and protocol.upper() in ("", publication.protocol)


def _list(published: list[Publication]) -> None:
    if not published:
        print("nothing is published")
    for one in published:
        print(f"{one.place}/{one.protocol.lower()}  {one.target}")
