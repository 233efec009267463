"""The host's resolver is changed only by what can be undone, and is undone whatever happened meanwhile."""

import os
import subprocess
from dataclasses import dataclass

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
        started.append((subprocess.Popen(["sleep", "1000"]), corefile))
        return started[-1][0].pid

    monkeypatch.setattr(hostdns, "_start", start)
    yield started
    for process, _ in started:
        process.kill()
        process.wait()


@pytest.fixture
def plain(tmp_path):
    host = FakeHost(tmp_path / "resolv.conf", tmp_path / "none", tmp_path / "drop-ins", 5353)
    host.resolv_conf.write_text(BEFORE)
    return host


@pytest.fixture
def resolved(tmp_path):
    host = FakeHost(tmp_path / "resolv.conf", tmp_path / "stub", tmp_path / "drop-ins")
    host.resolv_conf.write_text("nameserver 127.0.0.53\n")
    host.resolved.touch()
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
    assert drop_in.read_text().startswith("[Resolve]\nDNS=127.0.0.153:")
    assert "Domains=~cluster.local\n" in drop_in.read_text()
    assert resolved.resolv_conf.read_text() == "nameserver 127.0.0.53\n"
    assert "forward" not in server[0][1]
    hostdns.disable(paths, resolved)
    assert list(resolved.drop_ins.iterdir()) == []


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


def test_it_is_refused_without_root_and_when_done_already(paths, plain, server, monkeypatch):
    hostdns.enable(paths, "cluster.local", plain)
    with pytest.raises(HostDNSError, match="enabled already"):
        hostdns.enable(paths, "cluster.local", plain)
    hostdns.disable(paths, plain)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostDNSError, match="needs root"):
        hostdns.enable(paths, "cluster.local", plain)
