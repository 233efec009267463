"""How to reach an API server: from a kubeconfig, from inside a pod, or given directly.

`ssl_context` and `headers` are what `sampan.client.rest` hands to the HTTP client.
"""

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(ValueError):
    """A kubeconfig that cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Config:
    """A server and the credentials for it. Data in PEM; files are read when a connection is made."""

    server: str
    ca_file: str = ""
    ca_data: str = ""
    cert_file: str = ""
    key_file: str = ""
    cert_data: str = ""
    key_data: str = ""
    token: str = ""
    token_file: str = ""
    insecure: bool = False
    server_name: str = ""

    @classmethod
    def from_kubeconfig(cls, path: str | Path, context: str | None = None) -> "Config":
        """Read one context (by default the current one). Raises ConfigError, OSError."""
        import yaml

        try:
            document = yaml.load(Path(path).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not YAML: {error}") from error
        if not isinstance(document, dict):
            raise ConfigError(f"{path}: not a kubeconfig")
        wanted = context or document.get("current-context") or ""
        chosen = _named(document, "contexts", "context", wanted, path)
        cluster = _named(document, "clusters", "cluster", chosen.get("cluster", ""), path)
        user = _named(document, "users", "user", chosen["user"], path) if chosen.get("user") else {}
        return _from_entries(cluster, user, Path(path).parent)

    @classmethod
    def in_cluster(cls, environment: Mapping[str, str] = os.environ, secrets: Path = SERVICE_ACCOUNT) -> "Config":
        """What a pod's service account gives. Raises ConfigError outside a pod."""
        host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise ConfigError("not in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
        address = f"[{host}]" if ":" in host else host
        return cls(f"https://{address}:{port}", ca_file=str(secrets / "ca.crt"), token_file=str(secrets / "token"))

    def ssl_context(self) -> ssl.SSLContext | None:
        """None for plain HTTP. Raises OSError when a file cannot be read, ssl.SSLError when it is not PEM."""
        if not self.server.startswith("https:"):
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_file or self.ca_data:
            context.load_verify_locations(self.ca_file or None, cadata=self.ca_data or None)
        else:
            context.load_default_certs()
        self._load_client_certificate(context)
        return context

    def _load_client_certificate(self, context: ssl.SSLContext) -> None:
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file or None)
        elif self.cert_data:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                file.write(self.cert_data + "\n" + self.key_data)
                file.flush()
                context.load_cert_chain(file.name)

    def bearer_token(self) -> str:
        """The current token; a token file is read each time, because it is rotated. Raises OSError."""
        return Path(self.token_file).read_text().strip() if self.token_file else self.token


def _named(document: Mapping[str, Any], listing: str, field: str, name: str, path: str | Path) -> dict[str, Any]:
    for entry in document.get(listing) or ():
        if isinstance(entry, dict) and entry.get("name") == name:
            value = entry.get(field)
            if isinstance(value, dict):
                return value
    raise ConfigError(f'{path}: no {field} named "{name}"')


def _from_entries(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> Config:
    def file(entry: Mapping[str, Any], key: str) -> str:
        return str(folder / entry[key]) if entry.get(key) else ""

    def data(entry: Mapping[str, Any], key: str) -> str:
        try:
            return base64.b64decode(entry.get(key) or "", validate=True).decode()
        except ValueError as error:
            raise ConfigError(f"{key}: not base64 of PEM: {error}") from error

    if not cluster.get("server"):
        raise ConfigError("the cluster has no server")
    return Config(
        server=str(cluster["server"]).rstrip("/"),
        ca_file=file(cluster, "certificate-authority"),
        ca_data=data(cluster, "certificate-authority-data"),
        cert_file=file(user, "client-certificate"),
        key_file=file(user, "client-key"),
        cert_data=data(user, "client-certificate-data"),
        key_data=data(user, "client-key-data"),
        token=str(user.get("token") or ""),
        token_file=file(user, "tokenFile"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=str(cluster.get("tls-server-name") or ""),
    )
