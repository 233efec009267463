"""Outbound network access: a user-mode network stack (slirp4netns) between the box and the machine's network.

    pod ─ node ─ br-lan ─ masquerade ─ outbound (tap) ══ slirp4netns, in the machine's network ── sockets ──► the world

The stack turns packets of the tap into connections of an ordinary process of the machine, so the machine needs no rule,
route or interface. `lan.py` makes the tap and its routes, which are in effect only while a stack is attached; otherwise
everything outside is rejected at once. Outbound is a component like others, whose process execs the stack: the box's
init restarts it when it ends, and the kernel ends it with the box.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from typing import NoReturn

from sampan.cluster import lan, view
from sampan.cluster.config import ClusterConfig
from sampan.kernel import libc, tap
from sampan.kernel.rtnetlink import RouteSocket

NAME = "outbound"
"""The component's name."""
PROGRAM = PACKAGE = "slirp4netns"
COMMAND_SECONDS = 30.0

_TABLE = "sampan-outbound"
_RULES = f"""\
table ip {_TABLE} {{}}
delete table ip {_TABLE}
table ip {_TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "{lan.OUTBOUND}" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter;
    oifname "{lan.OUTBOUND}" meta l4proto != {{ tcp, udp, icmp }} reject with icmp admin-prohibited
  }}
  chain prerouting {{
    type filter hook prerouting priority mangle;
    iifname "{lan.OUTBOUND}" ct state new drop
  }}
}}
"""

log = logging.getLogger(__name__)


async def run(config: ClusterConfig, ready: Callable[..., None]) -> None:
    """Execs the stack in the machine's network. If that is impossible, reports why through `ready` and returns."""
    program = shutil.which(PROGRAM, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if program is None or (problem := _problem()):
        missing = f"{PROGRAM} is not installed: apt-get install --no-install-recommends {PACKAGE}"
        reason = f"no way out to the machine's network: {missing if program is None else problem}"
        log.warning("%s", reason)
        ready(reason)
        return
    _masquerade()
    ready()
    _exec_in_host_network(command(config, program))


def describe(state: str, note: str) -> str:
    """The text for `sampan status`, from the component's state and its last note."""
    match state:
        case "ready":
            return PROGRAM
        case "done":
            return f"none: {note.partition(': ')[2]}"
    return f"{state}; see: sampan logs {NAME}"


def command(config: ClusterConfig, program: str) -> list[str]:
    """The stack's command line: sandboxed, without its own name server, with the machine's loopback only if allowed."""
    return [
        program,
        "--netns-type=path",
        f"--cidr={config.outbound_range}",
        f"--mtu={lan.OUTBOUND_MTU}",
        "--disable-dns",
        "--enable-sandbox",
        "--enable-seccomp",
        *([] if config.allow_host_loopback else ["--disable-host-loopback"]),
        "/proc/1/ns/net",
        lan.OUTBOUND,
    ]


def _problem() -> str:
    try:
        with RouteSocket() as routes:
            routes.index(lan.OUTBOUND)
    except OSError:
        return f"the kernel has no tap devices ({tap.DEVICE}): modprobe tun"
    return ""


def _masquerade() -> None:
    """Masquerade what leaves through the tap, as the stack serves one address; drop connections that begin outside.

    Uses nft, or iptables (masquerading only) if the kernel has no nftables for IPv4. Raises OSError, SubprocessError.
    """
    try:
        _run("nft", "-f", "-", given=_RULES)
    except (subprocess.SubprocessError, FileNotFoundError):
        rule = ["POSTROUTING", "-o", lan.OUTBOUND, "-j", "MASQUERADE"]
        try:
            _run("iptables", "-w", "-t", "nat", "-C", *rule)
        except subprocess.CalledProcessError:
            _run("iptables", "-w", "-t", "nat", "-A", *rule)


def _run(*words: str, given: str = "") -> None:
    subprocess.run(words, input=given, text=True, capture_output=True, timeout=COMMAND_SECONDS, check=True)


def _exec_in_host_network(words: list[str]) -> NoReturn:
    descriptor = os.open(view.HOST_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
    libc.setns(descriptor, libc.CLONE_NEWNET)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(words[0], words)
