"""Registries: manifests and blobs over the OCI distribution protocol, with the tokens that registries ask for.

Private and loopback addresses are spoken to without TLS, as such registries rarely have a certificate.
"""

import asyncio
import base64
import hashlib
import ipaddress
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec

from sampan.http.client import Dial, HTTPClient, StreamedAnswer
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
DOCKER_HUB = "registry-1.docker.io"
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

    def __init__(self, reference: Reference, credentials: Credentials, dial: Dial | None = None) -> None:
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

    async def _platform_manifest(self) -> tuple[str, dict[str, Any]]:
        digest, document = await self._manifest(self._reference.pinned)
        if "manifests" not in document:
            return digest, document
        for entry in document["manifests"]:
            if entry.get("platform") and fits(entry):
                _, chosen = await self._manifest(entry["digest"])
                return digest, chosen
        raise self._error("no match for platform in manifest: not found")

    async def _manifest(self, which: str) -> tuple[str, dict[str, Any]]:
        async with self._get(f"manifests/{which}", accept=ACCEPT) as answer:
            body = await answer.read()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if which.startswith("sha256:") and digest != which:
            raise self._error(f"the manifest has digest {digest}, expected {which}")
        try:
            return digest, msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise self._error(f"the manifest is damaged: {error}") from error

    async def blob(self, digest: str, target: Path) -> int:
        """Fetch a blob into a file, check its digest, and return its size."""
        found = hashlib.sha256()
        size = 0
        async with self._get(f"blobs/{digest}") as answer:
            with target.open("wb") as file:
                async for chunk in answer.chunks:
                    found.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
        if f"sha256:{found.hexdigest()}" != digest:
            raise self._error(f"the content of {digest} has another digest: sha256:{found.hexdigest()}")
        return size

    @asynccontextmanager
    async def _get(self, what: str, *, accept: str = "*/*") -> AsyncIterator[StreamedAnswer]:
        url = f"{self._base}/v2/{self._reference.path}/{what}"
        try:
            for _ in range(MAX_REDIRECTS):
                async with self._open(url, accept) as answer:
                    location = answer.headers.get("location", "")
                    if answer.status in (301, 302, 303, 307, 308) and location:
                        url = urljoin(url, location)
                    elif answer.status == 401 and not self._authorization:
                        self._authorization = await self._authorize(answer.headers.get("www-authenticate", ""))
                    else:
                        await self._check(answer)
                        yield answer
                        return
        except OSError as error:
            raise RegistryUnreachable(self._text(f"failed to do request: {error}")) from error
        raise self._error("too many redirects")

    @asynccontextmanager
    async def _open(self, url: str, accept: str) -> AsyncIterator[StreamedAnswer]:
        parts = urlsplit(url)
        client = HTTPClient(f"{parts.scheme}://{parts.netloc}", dial=self._dial)
        headers = {"Accept": accept}
        if self._authorization and url.startswith(self._base):
            headers["Authorization"] = self._authorization
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            async with client.stream("GET", path, headers=headers) as answer:
                yield answer
        finally:
            await client.close()

    async def _check(self, answer: StreamedAnswer) -> None:
        if answer.status == 200:
            return
        if answer.status == 404:
            raise self._error(f"{self._reference}: not found")
        if answer.status in (401, 403):
            raise self._error(
                "pull access denied, repository does not exist or may require authorization: "
                "server message: insufficient_scope: authorization failed"
            )
        text = (await answer.read())[:200].decode(errors="replace")
        raise self._error(f"unexpected status code {answer.status}: {text}")

    async def _authorize(self, challenge: str) -> str:
        """The Authorization header that a 401's challenge asks for."""
        scheme, _, rest = challenge.partition(" ")
        basic = ""
        if self._account:
            basic = "Basic " + base64.b64encode(":".join(self._account).encode()).decode()
        if scheme.lower() == "basic":
            return basic or "Basic"
        parameters = dict(_PARAMETER.findall(rest))
        realm = urlsplit(parameters.pop("realm", ""))
        if scheme.lower() != "bearer" or not realm.netloc:
            raise self._error(f"cannot authorize as the registry asks: {challenge!r}")
        scope = parameters.get("scope") or f"repository:{self._reference.path}:pull"
        query = urlencode({"service": parameters.get("service", ""), "scope": scope}, quote_via=quote)
        client = HTTPClient(f"{realm.scheme}://{realm.netloc}", dial=self._dial)
        try:
            headers = {"Authorization": basic} if basic else {}
            answer = await client.request("GET", f"{realm.path}?{query}", headers=headers, timeout=ANSWER_SECONDS)
        finally:
            await client.close()
        if answer.status != 200:
            raise self._error(f"failed to fetch a token: {answer.status} from {realm.netloc}")
        token = msgspec.json.decode(answer.body, type=dict[str, Any])
        return f"Bearer {token.get('token') or token.get('access_token') or ''}"

    def _text(self, detail: str) -> str:
        name = str(self._reference)
        return f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": {detail}'

    def _error(self, detail: str) -> ImagePullError:
        return ImagePullError(self._text(detail))
