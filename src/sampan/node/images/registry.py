"""Registries: manifests and blobs over the OCI distribution protocol, with the tokens that registries ask for.

Private and loopback addresses are spoken to without TLS, as such registries rarely have a certificate. A registry may
be hostile: what it sends is bounded in time and size and never repeated in an error, and authorization goes only to the
origin (scheme, host and port) that it is for.
"""

import asyncio
import base64
import hashlib
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec

from sampan.http.client import Dial, HTTPClient, StreamedAnswer
from sampan.node.images import dialing
from sampan.node.images.archive import INDEX_TYPES, fits
from sampan.node.images.reference import Reference
from sampan.node.images.types import Credentials, ImagePullError, RegistryUnreachable

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))
MAX_REDIRECTS = 5
ANSWER_SECONDS = 30.0
"""A manifest or token, whole, or the beginning of a blob."""
SILENCE_SECONDS = 60.0
"""Between two pieces of a blob."""
MAX_MANIFEST = 4 << 20
"""Bytes of a manifest or token."""
DOCKER_HUB = "registry-1.docker.io"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


def base_url(domain: str) -> str:
    """Where a registry answers."""
    host = urlsplit(f"//{domain}").hostname or domain
    if host == "docker.io":
        return f"https://{DOCKER_HUB}"
    try:
        local = ipaddress.ip_address(host).is_private
    except ValueError:
        local = host == "localhost" or host.endswith(".localhost")
    return f"{'http' if local else 'https'}://{domain}"


class Registry:
    """A conversation about one repository. Raises ImagePullError, RegistryUnreachable."""

    def __init__(self, reference: Reference, credentials: Credentials, dial: Dial) -> None:
        self._dial = dial
        self._reference = reference
        self._account = credentials.by_host.get(reference.domain)
        self._base = base_url(reference.domain)
        self._authorization = ""

    async def manifest(self) -> tuple[str, dict[str, Any]]:
        """Digest and content of the image's manifest for this kind of machine."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._platform_manifest()
        except TimeoutError as error:
            raise RegistryUnreachable(self._text(f"no answer within {ANSWER_SECONDS:.0f} s")) from error
        except (KeyError, TypeError, AttributeError) as error:
            raise self._error("the manifest is damaged") from error

    async def _platform_manifest(self) -> tuple[str, dict[str, Any]]:
        digest, document = await self._manifest(self._reference.pinned)
        if "manifests" not in document:
            return digest, document
        for entry in document["manifests"]:
            if entry.get("platform") and fits(entry):
                _, chosen = await self._manifest(self._checked(entry["digest"]))
                return digest, chosen
        raise self._error("no match for platform in manifest: not found")

    async def _manifest(self, which: str) -> tuple[str, dict[str, Any]]:
        async with self._get(f"manifests/{which}", accept=ACCEPT) as answer:
            body = await self._read(answer)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if which.startswith("sha256:") and digest != which:
            raise self._error(f"the manifest has digest {digest}, expected {which}")
        return digest, self._decode(body)

    async def _read(self, answer: StreamedAnswer) -> bytes:
        body = bytearray()
        async for chunk in answer.chunks:
            body += chunk
            if len(body) > MAX_MANIFEST:
                raise self._error(f"the answer is longer than {MAX_MANIFEST} bytes")
        return bytes(body)

    def _decode(self, body: bytes) -> dict[str, Any]:
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._error("the answer is not a JSON object") from error

    def _checked(self, digest: object) -> str:
        """A digest that another manifest names; it becomes part of a URL."""
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise self._error("the manifest names an invalid digest")
        return digest

    async def blob(self, digest: str, target: Path, *, limit: int) -> int:
        """Fetch a blob of at most `limit` bytes into a file, check its digest, and return its size."""
        found = hashlib.sha256()
        size = 0
        try:
            async with asyncio.timeout(ANSWER_SECONDS) as patience:
                async with self._get(f"blobs/{self._checked(digest)}") as answer:
                    with target.open("wb") as file:
                        async for chunk in answer.chunks:
                            patience.reschedule(asyncio.get_running_loop().time() + SILENCE_SECONDS)
                            found.update(chunk)
                            size += len(chunk)
                            if size > limit:
                                raise self._error(f"{digest} is longer than the {limit} bytes of the manifest")
                            file.write(chunk)
        except TimeoutError as error:
            raise RegistryUnreachable(self._text(f"no more of {digest} within {SILENCE_SECONDS:.0f} s")) from error
        if f"sha256:{found.hexdigest()}" != digest:
            raise self._error(f"the content of {digest} has another digest: sha256:{found.hexdigest()}")
        return size

    @asynccontextmanager
    async def _get(self, what: str, *, accept: str = "*/*") -> AsyncIterator[StreamedAnswer]:
        url = f"{self._base}/v2/{self._reference.path}/{what}"
        for _ in range(MAX_REDIRECTS):
            async with self._open(url, accept) as answer:
                location = answer.headers.get("location", "")
                if answer.status in (301, 302, 303, 307, 308) and location:
                    url = urljoin(url, location)
                elif answer.status == 401 and not self._authorization:
                    self._authorization = await self._authorize(answer.headers.get("www-authenticate", ""))
                else:
                    self._check(answer, url)
                    yield answer
                    return
        raise self._error("too many redirects")

    @asynccontextmanager
    async def _open(self, url: str, accept: str, *, authorization: str | None = None) -> AsyncIterator[StreamedAnswer]:
        """Ask for a URL, with the registry's authorization if it is of the registry's origin and none is given."""
        own = self._authorization if _origin(url) == _origin(self._base) else ""
        headers = {"Accept": accept}
        if wanted := own if authorization is None else authorization:
            headers["Authorization"] = wanted
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # a query may hold a signature
        if _origin(url) is None:
            raise self._error("the registry leads to what is no URL of http or https")
        client = HTTPClient(f"{parts.scheme}://{parts.netloc}", dial=self._dial)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        try:
            async with client.stream("GET", path, headers=headers) as answer:
                yield answer
        except OSError as error:
            raise RegistryUnreachable(self._text(f'failed to do request: Get "{shown}": {_reason(error)}')) from error
        except ValueError as error:  # what is no header or path
            raise self._error("the registry leads to what cannot be asked for") from error
        finally:
            await client.close()

    def _check(self, answer: StreamedAnswer, url: str) -> None:
        if answer.status == 200:
            return
        if answer.status == 404:
            raise self._error(f"{self._reference}: not found")
        if answer.status in (401, 403):
            raise self._error(
                "pull access denied, repository does not exist or may require authorization: "
                "server message: insufficient_scope: authorization failed"
            )
        raise self._error(f"unexpected status from GET request to {url.partition('?')[0]}: {_phrase(answer.status)}")

    async def _authorize(self, challenge: str) -> str:
        """The Authorization header that a 401's challenge asks for."""
        scheme, _, rest = challenge.partition(" ")
        basic = ""
        if self._account:
            basic = "Basic " + base64.b64encode(":".join(self._account).encode()).decode()
        if scheme.lower() == "basic":
            return basic or "Basic"
        parameters = dict(_PARAMETER.findall(rest))
        realm = parameters.get("realm", "")
        if scheme.lower() != "bearer" or _origin(realm) is None:
            raise self._error("the registry asks for an authorization of an unknown kind")
        if self._base.startswith("https:") and not realm.lower().startswith("https:"):
            raise self._error("the registry wants its tokens fetched without TLS")
        scope = parameters.get("scope") or f"repository:{self._reference.path}:pull"
        query = urlencode({"service": parameters.get("service", ""), "scope": scope}, quote_via=quote)
        async with self._open(f"{realm.partition('?')[0]}?{query}", "*/*", authorization=basic) as answer:
            if answer.status != 200:
                raise self._error(f"failed to fetch a token: {_phrase(answer.status)} from {urlsplit(realm).netloc}")
            token = self._decode(await self._read(answer))
        return f"Bearer {token.get('token') or token.get('access_token') or ''}"

    def _text(self, detail: str) -> str:
        name = str(self._reference)
        return f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": {detail}'

    def _error(self, detail: str) -> ImagePullError:
        return ImagePullError(self._text(detail))


def _origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None if it is no URL of http or https."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _reason(error: OSError) -> str:
    """Why a request failed, as Go says it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        is_plain = error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
        return "http: server gave HTTP response to HTTPS client" if is_plain else f"tls: {error.reason}"
    return "i/o timeout" if isinstance(error, TimeoutError) else dialing.reason(error)
