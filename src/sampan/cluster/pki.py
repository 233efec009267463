"""The cluster's own certificate authority and every certificate that a component or the administrator needs.

ECDSA P-256 throughout, because a key takes a fraction of a millisecond to make. Certificates are made once, when the
cluster is created, and live in the cluster's `pki/` directory under the names that kubeadm gives them where it has one.
Roles are in the subject as the API server reads it: common name is the user, organisations are the groups.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sampan.cluster.config import ClusterConfig

LIFETIME = datetime.timedelta(days=3650)
BACKDATE = datetime.timedelta(minutes=5)

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Subject:
    """One certificate to be made. `addresses` (names and IPs) make it a server's, otherwise it is a client's."""

    file: str
    name: str
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def subjects(config: ClusterConfig) -> list[Subject]:
    """Everyone in the cluster who has a certificate."""
    domain = config.network.domain
    api_names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{domain}")
    api_ips = ("127.0.0.1", "::1", config.kubernetes_ip, config.gateway)
    return [
        Subject("apiserver", "kube-apiserver", addresses=("localhost", *api_names, *api_ips)),
        Subject("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",)),
        Subject("admin", "kubernetes-admin", ("system:masters",)),
        Subject("controller-manager", "system:kube-controller-manager"),
        Subject("scheduler", "system:kube-scheduler"),
        Subject("proxy", "system:kube-proxy"),
        *(subject for index in range(len(config.node_list)) for subject in _node_subjects(config, index)),
    ]


def _node_subjects(config: ClusterConfig, index: int) -> tuple[Subject, Subject]:
    name = config.node_list[index].name
    user, groups = f"system:node:{name}", ("system:nodes",)
    return (
        Subject(f"node-{name}-server", user, groups, (name, config.node_ip(index), "127.0.0.1")),
        Subject(f"node-{name}-client", user, groups),
    )


def create(directory: Path, config: ClusterConfig) -> None:
    """Fills an empty directory: ca.crt, ca.key, sa.key, sa.pub, and a .crt and .key for each subject."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key)
    _write_key(directory / "ca.key", authority_key)
    _write(directory / "ca.crt", _pem(authority))
    service_accounts = ec.generate_private_key(ec.SECP256R1())
    _write_key(directory / "sa.key", service_accounts)
    public = service_accounts.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _write(directory / "sa.pub", public)
    for subject in subjects(config):
        key = ec.generate_private_key(ec.SECP256R1())
        _write_key(directory / f"{subject.file}.key", key)
        _write(directory / f"{subject.file}.crt", _pem(_issue(subject, key, authority, authority_key)))


def _authority(key: Key) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _issue(subject: Subject, key: Key, authority: x509.Certificate, authority_key: Key) -> x509.Certificate:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in subject.groups]
    attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, subject.name))
    usage = ExtendedKeyUsageOID.SERVER_AUTH if subject.addresses else ExtendedKeyUsageOID.CLIENT_AUTH
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = (
        _builder(x509.Name(attributes), authority.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(issuer, critical=False)
    )
    if subject.addresses:
        alternatives = x509.SubjectAlternativeName(_general_names(subject.addresses))
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def _builder(subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - BACKDATE,
        not_valid_after=now + LIFETIME,
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general_names(addresses: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for address in addresses:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    return names


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_key(path: Path, key: Key) -> None:
    _write(
        path,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        mode=0o600,
    )


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        file.write(content)
