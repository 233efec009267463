"""`sampan proxy-mode`: another way of making Services real, while the cluster runs."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import msgspec

from sampan.cli.clusters import add_name, configuration, existing
from sampan.cli.errors import CommandError
from sampan.cluster import config as cluster_config
from sampan.cluster import launch
from sampan.cluster.paths import ClusterPaths

DEADLINE_SECONDS = 30.0
POLL_SECONDS = 0.02


def arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("mode", nargs="?", help="nftables, iptables, ipvs or userspace (none: show the present one)")


def run(options: argparse.Namespace) -> int:
    """Exit status 1 if some node's proxy stays in another mode."""
    cluster = existing(options.name)
    config = configuration(cluster)
    nodes = [node.name for node in config.node_list]
    if options.mode is None:
        print(config.proxy_mode)
        return 0
    _remember(cluster, options.mode)
    before = config.proxy_mode
    if not launch.is_running(cluster):
        print(f"The proxies will start in mode {options.mode}.")
        return 0
    answers = _ask(cluster, options.mode, nodes)
    _tell(answers, options.mode)
    if all(mode == options.mode for mode, _ in answers.values()):
        return 0
    if all(mode == before for mode, _ in answers.values()):
        _remember(cluster, before)
        _write(cluster.proxy_mode, before.encode())
    return 1


def _remember(cluster: ClusterPaths, mode: str) -> None:
    """For the next start. Raises CommandError if there is no such mode."""
    fields = msgspec.json.decode(cluster.config.read_bytes()) | {"proxyMode": mode}
    try:
        changed = cluster_config.build(fields, source="proxy-mode")
    except cluster_config.ConfigError as error:
        raise CommandError(str(error)) from error
    _write(cluster.config, msgspec.json.encode(changed))


def _ask(cluster: ClusterPaths, mode: str, nodes: list[str]) -> dict[str, tuple[str, str]]:
    """Each node's answer: the mode in force there, and why it is not the wanted one. Raises CommandError."""
    for node in nodes:
        (cluster.proxy_mode_answers / node).unlink(missing_ok=True)
    _write(cluster.proxy_mode, mode.encode())
    answers: dict[str, tuple[str, str]] = {}
    deadline = time.monotonic() + DEADLINE_SECONDS
    while missing := [node for node in nodes if node not in answers]:
        if time.monotonic() > deadline:
            raise CommandError(
                f"the proxies of {', '.join(missing)} do not answer; see: sampan logs {missing[0]}-proxy"
            )
        for node in missing:
            if answer := _answer(cluster.proxy_mode_answers / node):
                answers[node] = answer
        time.sleep(POLL_SECONDS)
    return answers


def _answer(path: Path) -> tuple[str, str] | None:
    """None while it is not there, or not whole."""
    try:
        lines = path.read_text().split("\n")
    except FileNotFoundError:
        return None
    return (lines[0], lines[1]) if len(lines) == 3 else None


def _tell(answers: dict[str, tuple[str, str]], wanted: str) -> None:
    for node, (mode, problem) in sorted(answers.items()):
        print(f"{node}: {mode}" + (f" (not {wanted}: {problem})" if problem or mode != wanted else ""))


def _write(path: Path, data: bytes) -> None:
    """The whole file at once, for whoever reads it meanwhile."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)
