"""Every certificate is what a TLS peer and the API server's authentication expect of it."""

import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from sampan.cluster import pki
from sampan.cluster.config import build

CONFIG = build({"nodes": 2})


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pki")
    pki.create(made, CONFIG)
    return made


def server_context(directory: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / f"{name}.crt", directory / f"{name}.key")
    context.load_verify_locations(directory / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(directory: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(directory / f"{name}.crt", directory / f"{name}.key")
    context.load_verify_locations(directory / "ca.crt")
    return context


def handshake(directory: Path, server: str, client: str, host: str) -> None:
    """Raises ssl.SSLError if either side does not trust the other under that name."""
    here, there = socket.socketpair()
    failures: list[Exception] = []

    def serve() -> None:
        try:
            server_context(directory, server).wrap_socket(there, server_side=True).close()
        except (ssl.SSLError, OSError) as error:
            failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        wrapped = client_context(directory, client).wrap_socket(here, server_hostname=host)
        wrapped.recv(1)
        wrapped.close()
    finally:
        here.close()
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize(
    ("server", "host"),
    [
        ("apiserver", "127.0.0.1"),
        ("apiserver", "localhost"),
        ("apiserver", CONFIG.gateway),
        ("apiserver", CONFIG.kubernetes_ip),
        ("apiserver", "kubernetes.default.svc.cluster.local"),
        ("node-node-1-server", "10.2.2.10"),
        ("node-node-2-server", "node-2"),
    ],
)
def test_servers_are_trusted_under_their_names(directory: Path, server: str, host: str) -> None:
    handshake(directory, server, "admin", host)


def test_servers_are_not_trusted_under_other_names(directory: Path) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(directory, "node-node-1-server", "admin", "10.2.2.11")


def test_a_client_of_another_cluster_is_not_trusted(directory: Path, tmp_path: Path) -> None:
    pki.create(tmp_path, CONFIG)
    (tmp_path / "ca.crt").write_bytes((directory / "ca.crt").read_bytes())
    for name in ("apiserver.crt", "apiserver.key"):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    with pytest.raises(ssl.SSLError):
        handshake(tmp_path, "apiserver", "admin", "localhost")


@pytest.mark.parametrize(
    ("file", "user", "groups"),
    [
        ("admin", "kubernetes-admin", ["system:masters"]),
        ("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"]),
        ("controller-manager", "system:kube-controller-manager", []),
        ("scheduler", "system:kube-scheduler", []),
        ("proxy", "system:kube-proxy", []),
        ("node-node-2-client", "system:node:node-2", ["system:nodes"]),
    ],
)
def test_a_clients_subject_is_its_user_and_groups(directory: Path, file: str, user: str, groups: list[str]) -> None:
    subject = x509.load_pem_x509_certificate((directory / f"{file}.crt").read_bytes()).subject
    assert [one.value for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [user]
    assert [one.value for one in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == groups


def test_keys_are_for_their_owner_only(directory: Path) -> None:
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.glob("*.key"))
