"""`sampan proxy`: kube-proxy's job on one node, against any API server; or what it would do, or undoing it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from sampan.cli.errors import CommandError
from sampan.cli.proxy_options import Given, given, options_for
from sampan.cli.serving import LOG_FORMAT, client_config, serve
from sampan.machinery.errors import StatusError
from sampan.proxy import preview
from sampan.proxy.backends.interface import BackendError
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.configchecks import LOCAL_MODES
from sampan.proxy.fallback import runnable
from sampan.proxy.main import run as run_proxy
from sampan.proxy.modes import cleanup, make_backends
from sampan.proxy.options import ProxyOptions

T = TypeVar("T")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", type=Path, default=None, help="default: the pod's service account")
    parser.add_argument("--context", default=None, help="context of the kubeconfig (default: the current one)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a KubeProxyConfiguration; flags take precedence")
    parser.add_argument(
        "--node-name", "--hostname-override", dest="node_name", help="this node's name (default: this host's)"
    )
    parser.add_argument("--mode", "--proxy-mode", dest="mode", help="nftables (default), iptables, ipvs or userspace")
    parser.add_argument("--cluster-cidr", metavar="CIDRS", help="the pods' networks, whose sources are not masqueraded")
    parser.add_argument("--detect-local-mode", metavar="MODE", help=", ".join(LOCAL_MODES))
    parser.add_argument("--pod-bridge-interface", metavar="NAME", help="by which pods' packets come")
    parser.add_argument("--pod-interface-name-prefix", metavar="PREFIX", help="of the interfaces by which they come")
    parser.add_argument("--nodeport-addresses", metavar="CIDRS", help="local addresses that serve node ports")
    parser.add_argument("--masquerade-all", action="store_true", help="masquerade all traffic to cluster IPs")
    parser.add_argument("--healthz-bind-address", metavar="HOST:PORT", help="default: 0.0.0.0:10256")
    parser.add_argument("--metrics-bind-address", metavar="HOST:PORT", help="default: 127.0.0.1:10249")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--dry-run", action="store_true", help="print the desired rules and end; needs no privileges")
    action.add_argument(
        "--diff", action="store_true", help="print what would change in the kernel; 1 if anything would"
    )
    action.add_argument("--cleanup", action="store_true", help="remove what any mode has left on this node, and end")


def run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    wanted = given(options)
    if options.cleanup:
        return _clean_up(wanted)
    return asyncio.run(_preview(options, wanted)) if options.dry_run or options.diff else _serve(options, wanted)


def _serve(options: argparse.Namespace, wanted: Given) -> int:
    _need_root("changes the kernel's rules")

    _set_oom_score(wanted.oom_score_adj)

    async def proxy() -> None:
        made = await _options(options, wanted)
        await _told(run_proxy(made))

    return serve(proxy())


def _set_oom_score(value: int) -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(str(value))
    except OSError as error:
        logging.getLogger(__name__).warning("oomScoreAdj %d: %s", value, error.strerror)


async def _preview(options: argparse.Namespace, wanted: Given) -> int:
    if options.diff:
        _need_root("--diff reads the kernel's rules")
    made, instead = runnable(await _options(options, wanted))
    if instead:
        print(f"# {instead}")
    found = await _told(preview.states(made))
    if options.dry_run:
        print(preview.rendered(made, found), end="")
        return 0
    for backend in _backends(made).values():
        backend.close()
    lines = await _told(preview.difference(made, found))
    print("".join(f"{line}\n" for line in lines), end="")
    return 1 if lines else 0


def _clean_up(wanted: Given) -> int:
    """Of both families, whatever this node has: no API server is asked."""
    _need_root("--cleanup changes the kernel's rules")
    options = wanted.offline()

    async def remove() -> bool:
        return all([await cleanup(options, mode) for mode in BACKENDS])

    return 0 if asyncio.run(remove()) else 1


async def _options(options: argparse.Namespace, wanted: Given) -> ProxyOptions:
    kubeconfig = options.kubeconfig or wanted.kubeconfig
    return await _told(options_for(wanted, client_config(kubeconfig, options.context)))


def _backends(options: ProxyOptions) -> dict[int, Any]:
    try:
        return dict(make_backends(options))
    except BackendError as error:
        raise CommandError(str(error)) from error


async def _told(work: Coroutine[Any, Any, T]) -> T:
    """The result; what can go wrong at a start becomes a message for the user."""
    try:
        return await work
    except (BackendError, StatusError, OSError, ValueError) as error:
        raise CommandError(str(error)) from error


def _need_root(why: str) -> None:
    if os.geteuid() != 0:
        raise CommandError(f"{why}: be root")
