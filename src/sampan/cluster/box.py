"""The box: forks the first process of new namespaces and lets it build its world.

    supervisor (host) ── fork ──► init: PID 1 in namespaces of its own ── fork ──► components

Every resource of a cluster hangs on that one process: when it is killed, the kernel ends all processes, and with the
last of them go the networks and the mounts. Only the control group's directories are left, which `close` removes.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from typing import NoReturn

from sampan.cluster import kubeconfig, lan, view
from sampan.cluster.components import API_PORT, Component, Context
from sampan.cluster.init import Init
from sampan.cluster.messages import Boxed, Channel, Failed
from sampan.cluster.process import name_process
from sampan.kernel import cgroups, libc, processes


def open_box(components: Sequence[Component], context: Context) -> tuple[int, Channel]:
    """Starts the box; gives its first process's id and the channel to it. Raises OSError.

    What goes wrong inside arrives as a `Failed` message.
    """
    cgroups.create(context.paths.cgroup)
    outer, inner = Channel.pair()
    pid = _fork_into_new_pids()
    if pid == 0:
        outer.close()
        _live(components, context, inner)
    inner.close()
    return pid, outer


def _fork_into_new_pids() -> int:
    """As os.fork, but the child is the first process of a new PID namespace."""
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.unshare(libc.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            libc.setns(home, libc.CLONE_NEWPID)  # or this process could start no thread: they would be in there
        return pid
    finally:
        os.close(home)


def _live(components: Sequence[Component], context: Context, channel: Channel) -> NoReturn:
    """The first process's whole life."""
    try:
        processes.die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        name_process("box")
        for one in context.mapped:
            one.close()
        cgroups.add(context.paths.cgroup, 0)
        view.enter(context.paths.context, context.paths.root, context.config.gateway)
        lan.create(context.config, view.RUN)
        _write_for_shells(context)
        listener = _listen_on_lan(context)
        channel.send(Boxed())
        inside = Context(context.config, context.paths, (*context.api_sockets, listener))
        Init(components, inside, channel).run()
    except BaseException as error:
        channel.send(Failed(f"{type(error).__name__}: {error}"))
    finally:
        os._exit(1)


def _write_for_shells(context: Context) -> None:
    """What a process inside needs that is not a pod: name servers and a kubeconfig as seen from here."""
    config = context.config
    domain = config.network.domain
    search = f"default.svc.{domain} svc.{domain} {domain}"
    view.CLUSTER_RESOLV.write_text(f"nameserver {config.dns_ip}\nsearch {search}\noptions ndots:5\n")
    server = f"https://{config.gateway}:{API_PORT}"
    kubeconfig.write(view.KUBECONFIG, kubeconfig.entry(context.paths.context, server, context.paths.pki))


def _listen_on_lan(context: Context) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((context.config.gateway, API_PORT))
    listener.listen(1024)
    return listener


def close(pid: int, context: Context) -> None:
    """Kills the box and removes its control groups; returns when nothing is left. Blocks. Raises OSError."""
    processes.send(pid, signal.SIGKILL)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        processes.wait_gone(pid, 10)
    cgroups.remove(context.paths.cgroup)
