"""The host's resolver is changed only by what can be undone, and is undone whatever happened meanwhile."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from sampan.cluster import hostdns
from sampan.cluster.hostdns import Host, HostDNSError
from sampan.cluster.paths import ClusterPaths

BEFORE = "search corp.example\nnameserver 10.0.0.1\n"


@dataclass(frozen=True, slots=True)
class FakeHost(Host):
    def reload(self):
        self.drop_ins.parent.joinpath("reloaded").touch()


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setattr(hostdns.os, "geteuid", lambda: 0)
    found = ClusterPaths(tmp_path / "home", "c")
    found.root.mkdir()
    found.make()
    return found


@pytest.fixture
def server(monkeypatch):
    """A process in the place of the DNS server; `corefiles` are what it was started with."""
    started = []

    def start(paths, corefile, port):
        file = str(hostdns._corefile_of(paths))
        sleeper = [sys.executable, "-c", "import time; time.sleep(1000)", file]
        started.append((subprocess.Popen(sleeper), corefile))
        pid = started[-1][0].pid
        # A process has its arguments a moment after it has become another program; a real server has them by now.
        assert hostdns._eventually(lambda: file in Path(f"/proc/{pid}/cmdline").read_text())
        return pid

    monkeypatch.setattr(hostdns, "_start", start)
    yield started
    for process, _ in started:
        process.kill()
        process.wait()


@pytest.fixture
def plain(tmp_path):
    host = FakeHost(tmp_path / "resolv.conf", tmp_path / "none", tmp_path / "none", tmp_path / "drop-ins", 5353)
    host.resolv_conf.write_text(BEFORE)
    return host


@pytest.fixture
def resolved(tmp_path):
    host = FakeHost(tmp_path / "resolv.conf", tmp_path / "stub", tmp_path / "servers", tmp_path / "drop-ins")
    host.resolv_conf.write_text("nameserver 127.0.0.53\n")
    host.resolved.touch()
    host.resolved_servers.write_text("nameserver 10.0.0.1\n")
    return host


def test_without_systemd_a_marked_line_comes_first_and_others_are_forwarded(paths, plain, server):
    hostdns.enable(paths, "cluster.local", plain)
    assert plain.resolv_conf.read_text() == f"nameserver 127.0.0.153 # sampan\n{BEFORE}"
    assert "forward . 10.0.0.1" in server[0][1]
    assert hostdns.disable(paths, plain)
    assert plain.resolv_conf.read_text() == BEFORE
    assert server[0][0].wait(5) != 0


def test_what_others_changed_meanwhile_survives(paths, plain, server):
    hostdns.enable(paths, "cluster.local", plain)
    plain.resolv_conf.write_text(plain.resolv_conf.read_text() + "nameserver 10.0.0.2\n")
    hostdns.disable(paths, plain)
    assert plain.resolv_conf.read_text() == f"{BEFORE}nameserver 10.0.0.2\n"


def test_with_systemd_resolved_a_drop_in_is_for_the_clusters_domain_alone(paths, resolved, server):
    hostdns.enable(paths, "cluster.local", resolved)
    (drop_in,) = resolved.drop_ins.iterdir()
    assert drop_in.read_text().startswith("[Resolve]\nDNS=\nDNS=127.0.0.153:")
    assert "Domains=~cluster.local\n" in drop_in.read_text()
    assert resolved.resolv_conf.read_text() == "nameserver 127.0.0.53\n"
    assert "forward . 10.0.0.1" in server[0][1]
    hostdns.disable(paths, resolved)
    assert list(resolved.drop_ins.iterdir()) == []


def test_where_there_was_no_file_there_is_none_again(paths, plain, server):
    plain.resolv_conf.unlink()
    hostdns.enable(paths, "cluster.local", plain)
    assert plain.resolv_conf.read_text() == "nameserver 127.0.0.153 # sampan\n"
    hostdns.disable(paths, plain)
    assert not plain.resolv_conf.exists()


@pytest.mark.parametrize("way", ["plain", "resolved"])
@pytest.mark.parametrize("point", ["_start", "started", "_point", "pointed", "reload", "_unpoint", "unpointed"])
def test_killed_at_any_point_it_can_be_undone_and_done_again(paths, plain, resolved, server, way, point, monkeypatch):
    host = plain if way == "plain" else resolved
    before = host.resolv_conf.read_text()
    with monkeypatch.context() as patch:
        kill_at(patch, point)
        with pytest.raises(Killed):
            do_and_undo(paths, host)
    hostdns.enable(paths, "cluster.local", host) if point == "started" else hostdns.disable(paths, host)
    hostdns.disable(paths, host)
    assert host.resolv_conf.read_text() == before
    assert not list(host.drop_ins.glob("*"))
    for process, _ in server:
        assert process.wait(5) != 0


def do_and_undo(paths, host):
    hostdns.enable(paths, "cluster.local", host)
    hostdns.disable(paths, host)
    raise Killed  # the plain way never reloads


class Killed(BaseException):
    """Nothing that is caught."""


def kill_at(patch, point):
    """Have a step end the world, before it does anything or after."""

    def killing(step, after):
        def run(*given):
            result = step(*given) if after else None
            raise Killed(result)

        return run

    def on_host(self):
        raise Killed

    before = {"_start": "_start", "_point": "_point", "_unpoint": "_unpoint"}
    after = {"started": "_start", "pointed": "_point", "unpointed": "_unpoint"}
    if point == "reload":
        patch.setattr(FakeHost, "reload", on_host)
    elif point in before:
        patch.setattr(hostdns, point, killing(getattr(hostdns, point), after=False))
    else:
        patch.setattr(hostdns, after[point], killing(getattr(hostdns, after[point]), after=True))


def test_a_server_that_has_died_may_be_replaced(paths, plain, server):
    hostdns.enable(paths, "cluster.local", plain)
    server[0][0].kill()
    server[0][0].wait()
    hostdns.enable(paths, "cluster.local", plain)
    assert plain.resolv_conf.read_text() == f"nameserver 127.0.0.153 # sampan\n{BEFORE}"
    assert "forward . 10.0.0.1\n" in server[1][1]


@pytest.mark.parametrize("way", ["plain", "resolved"])
def test_a_second_cluster_is_refused_and_changes_nothing(paths, plain, resolved, server, way):
    host = plain if way == "plain" else resolved
    hostdns.enable(paths, "cluster.local", host)
    second = ClusterPaths(paths.root, "d")
    second.make()
    with pytest.raises(HostDNSError, match="another cluster's names are enabled already"):
        hostdns.enable(second, "other.local", host)
    assert not hostdns.disable(second, host)


def test_undoing_twice_or_with_nothing_done_is_harmless(paths, plain, server):
    assert not hostdns.disable(paths, plain)
    hostdns.enable(paths, "cluster.local", plain)
    assert hostdns.disable(paths, plain)
    assert not hostdns.disable(paths, plain)


def test_a_process_that_has_the_servers_number_by_now_is_left_alone(paths, plain, server):
    hostdns.enable(paths, "cluster.local", plain)
    record = hostdns._read(paths)
    hostdns._record(paths).write_bytes(hostdns.msgspec.json.encode(hostdns.msgspec.structs.replace(record, started=1)))
    hostdns.disable(paths, plain)
    assert server[0][0].poll() is None


def test_if_the_host_cannot_be_told_nothing_stays_changed(paths, resolved, server, monkeypatch):
    def fail(self):
        if list(self.drop_ins.iterdir()):
            raise HostDNSError("no")

    monkeypatch.setattr(FakeHost, "reload", fail)
    with pytest.raises(HostDNSError):
        hostdns.enable(paths, "cluster.local", resolved)
    assert list(resolved.drop_ins.iterdir()) == []
    assert not hostdns.disable(paths, resolved)


def test_it_is_refused_where_another_program_writes_the_file(paths, plain, server, tmp_path):
    target = tmp_path / "managed"
    plain.resolv_conf.rename(target)
    plain.resolv_conf.symlink_to(target)
    with pytest.raises(HostDNSError, match="is made by another program"):
        hostdns.enable(paths, "cluster.local", plain)


def test_it_is_refused_where_systemd_resolved_is_passed_by(paths, resolved, server, tmp_path):
    resolved.resolv_conf.unlink()
    resolved.resolv_conf.symlink_to(resolved.resolved_servers)
    with pytest.raises(HostDNSError, match="leads past systemd-resolved"):
        hostdns.enable(paths, "cluster.local", resolved)


def test_it_is_refused_without_root_and_when_done_already(paths, plain, server, monkeypatch):
    hostdns.enable(paths, "cluster.local", plain)
    with pytest.raises(HostDNSError, match="enabled already"):
        hostdns.enable(paths, "cluster.local", plain)
    hostdns.disable(paths, plain)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostDNSError, match="needs root"):
        hostdns.enable(paths, "cluster.local", plain)
