"""Certificates in Secrets: do they parse, does the key match, for which hosts do they hold, until when.

Whatever goes to nginx is loaded here first: a file that OpenSSL refuses would make nginx refuse all of its
configuration. `cryptography` is imported late, for it costs more than everything else here.
"""

from dataclasses import dataclass

from sampan.api.core_v1 import Secret
from sampan.ingress.model import Certificate


@dataclass(frozen=True, slots=True)
class Checked:
    """A Secret's certificate. `wrong` says why it cannot be used; the rest is empty then."""

    certificate: Certificate | None = None
    names: tuple[str, ...] = ()
    """DNS names of the certificate; its common name where it has none."""
    wrong: str = ""

    def covers(self, host: str) -> bool:
        """Whether the certificate holds for `host` (RFC 6125: `*` stands for one label, the first)."""
        host = host.lower()
        rest = host.partition(".")[2]
        return any(name == host or (name.startswith("*.") and rest == name[2:]) for name in self.names)


def check(secret: Secret) -> Checked:
    """The server certificate in `tls.crt` and `tls.key`."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    name = f"{secret.metadata.namespace}/{secret.metadata.name}"
    chain, key = secret.data.get("tls.crt", b""), secret.data.get("tls.key", b"")
    if not chain or not key:
        return Checked(wrong=f"Secret {name} has no {'tls.key' if chain else 'tls.crt'}")
    if wrong := pair_error(chain, key):
        return Checked(wrong=f"Secret {name}: {wrong}")
    leaf = x509.load_pem_x509_certificates(chain)[0]
    names: list[str] = []
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = [each.lower() for each in found.value.get_values_for_type(x509.DNSName)]
    except (x509.ExtensionNotFound, ValueError):
        pass
    if not names:
        names = [str(each.value).lower() for each in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    expires = int(leaf.not_valid_after_utc.timestamp())
    return Checked(Certificate(name, chain, key, expires), tuple(names))


def pair_error(chain: bytes, key: bytes) -> str:
    """What is wrong with a chain and its key, both PEM; "" where nothing is."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    if wrong := chain_error(chain, "tls.crt"):
        return wrong
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError) as error:
        return f"tls.key is not a private key without a password ({type(error).__name__})"
    except Exception as error:  # an algorithm that the library does not know
        return f"tls.key cannot be used: {type(error).__name__}"
    from cryptography import x509

    ours = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    leaf = x509.load_pem_x509_certificates(chain)[0].public_key()
    if ours != leaf.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        return "tls.key does not belong to the certificate in tls.crt"
    return ""


def chain_error(chain: bytes, name: str) -> str:
    """What is wrong with PEM certificates in the Secret's key `name`."""
    from cryptography import x509

    try:
        for each in x509.load_pem_x509_certificates(chain):
            each.public_key()
    except Exception as error:  # the library raises many kinds for what is not a certificate
        return f"{name} is not a PEM certificate ({type(error).__name__})"
    return ""


def crl_error(crl: bytes) -> str:
    from cryptography import x509

    try:
        x509.load_pem_x509_crl(crl)
    except Exception as error:
        return f"ca.crl is not a PEM revocation list ({type(error).__name__})"
    return ""
