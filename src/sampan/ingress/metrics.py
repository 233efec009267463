"""The controller's own metrics under the names of ingress-nginx; those of requests and reloads are nginx/metrics.py's.

What the configuration tells is looked up when somebody asks for the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from sampan import __version__
from sampan.http.metrics import Gauge, Labels, Level, Metric, Registry
from sampan.ingress.model import Certificate, Configuration
from sampan.ingress.nginx.metrics import OWN, PREFIX
from sampan.ingress.translate.types import Problem

ORPHANS = {"MissingService": "no-service", "NoEndpoints": "no-endpoint"}
"""Problems by their reasons, as the label `type` of orphan_ingress."""
_CERTIFICATE = ("namespace", "class", "host", "secret_name", "identifier")
_NAMES = ("issuer_common_name", "issuer_organization", "public_key_algorithm", "serial_number")


def register(
    registry: Registry,
    own: tuple[str, str, str],
    election: str,
    leads: Callable[[], bool],
    configuration: Callable[[], Configuration | None],
    problems: Callable[[], frozenset[Problem]],
) -> None:
    """Show them in `registry`; `own` are class, namespace and pod of the controller."""
    leading = Gauge(PREFIX + "leader_election_status", "Whether this replica leads (1), by Lease", (*OWN, "name"))
    registry.add(leading).read(lambda: float(leads()), *own, election)
    build = Level(
        PREFIX + "build_info", "Always 1; the labels tell the version", (*OWN, "build", "release", "repository")
    )
    registry.add(build).set(1, *own, "sampan", __version__, "sampan")
    registry.add(_Expiry(own, configuration))
    registry.add(_Info(own, configuration))
    registry.add(_Orphans(own, problems))


class _Certificates(Metric):
    """One figure for each host with a certificate of its own."""

    kind = "gauge"
    name = text = ""
    more: Labels = ()

    def __init__(self, own: tuple[str, str, str], configuration: Callable[[], Configuration | None]) -> None:
        super().__init__(PREFIX + self.name, self.text, (*OWN, *_CERTIFICATE, *self.more))
        self._own, self._configuration = own, configuration

    def figure(self, certificate: Certificate) -> tuple[float, Labels]:
        """The value, and labels beside those of the host."""
        raise AssertionError("a figure is of some kind")

    def counts(self) -> Iterator[tuple[Labels, float]]:
        configuration = self._configuration()
        for host in configuration.hosts if configuration else ():
            certificate = configuration.certificates.get(host.tls.certificate) if configuration and host.tls else None
            if certificate is None:
                continue
            namespace, _, secret = certificate.name.partition("/")
            value, more = self.figure(certificate)
            identifier = f"{namespace}/{secret}-{_facts(certificate)[4]}"
            yield (*self._own, namespace, self._own[0], host.name, secret, identifier, *more), value

    def lines(self) -> Iterator[str]:
        for labels, value in self.counts():
            yield self._sample(labels, value)


class _Expiry(_Certificates):
    name, text = "ssl_expire_time_seconds", "When a host's certificate expires, in seconds since 1970"

    def figure(self, certificate: Certificate) -> tuple[float, Labels]:
        return _facts(certificate)[0], ()


class _Info(_Certificates):
    name, text, more = "ssl_certificate_info", "Always 1; the labels tell of a host's certificate", _NAMES

    def figure(self, certificate: Certificate) -> tuple[float, Labels]:
        return 1, _facts(certificate)[1:]


class _Orphans(Metric):
    """Ingresses whose Service does not exist or has no endpoints."""

    kind = "gauge"

    def __init__(self, own: tuple[str, str, str], problems: Callable[[], frozenset[Problem]]) -> None:
        text = "1 for an Ingress whose Service does not exist or has no endpoint"
        super().__init__(PREFIX + "orphan_ingress", text, (*OWN, "namespace", "ingress", "type"))
        self._own, self._problems = own, problems

    def counts(self) -> Iterator[tuple[Labels, float]]:
        found = {(one.object.namespace, one.object.name, ORPHANS.get(one.reason, "")) for one in self._problems()}
        for labels in sorted(found):
            if labels[2]:
                yield (*self._own, *labels), 1.0

    def lines(self) -> Iterator[str]:
        for labels, value in self.counts():
            yield self._sample(labels, value)


@lru_cache(maxsize=10_000)
def _facts(certificate: Certificate) -> tuple[float, str, str, str, str]:
    """When it expires in seconds since 1970, and what `_NAMES` are."""
    from cryptography import x509

    found = x509.load_pem_x509_certificate(certificate.certificate)

    def issuer(kind: x509.ObjectIdentifier) -> str:
        return ",".join(str(one.value) for one in found.issuer.get_attributes_for_oid(kind))

    algorithm = type(found.public_key()).__name__.removesuffix("PublicKey").lstrip("_").upper()
    return (
        found.not_valid_after_utc.timestamp(),
        issuer(x509.NameOID.COMMON_NAME),
        issuer(x509.NameOID.ORGANIZATION_NAME),
        {"ELLIPTICCURVE": "ECDSA"}.get(algorithm, algorithm),
        str(found.serial_number),
    )
