"""`sampan dns enable-host` and `disable-host`: this machine resolves the cluster's names, or does so no more."""

from __future__ import annotations

import argparse

from sampan.cli.clusters import add_name, configuration, existing, running
from sampan.cli.errors import CommandError


def arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)


def enable(options: argparse.Namespace) -> int:
    from sampan.cluster import hostdns

    cluster = running(options.name)
    domain = configuration(cluster).network.domain
    try:
        told = hostdns.enable(cluster, domain)
    except (hostdns.HostDNSError, OSError) as error:
        raise CommandError(str(error)) from error
    print(f"Names such as kubernetes.default.svc.{domain} resolve on this machine now, {told}.")
    return 0


def disable(options: argparse.Namespace) -> int:
    from sampan.cluster import hostdns

    try:
        changed = hostdns.disable(existing(options.name))
    except (hostdns.HostDNSError, OSError) as error:
        raise CommandError(str(error)) from error
    print("This machine resolves names as before." if changed else "Nothing to undo.")
    return 0
