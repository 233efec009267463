"""nginx as the controller sees it: `apply` brings a configuration into service and says what could not be."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import logging
import os
import signal
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from sampan.http.metrics import Registry
from sampan.ingress.model import Certificate, Configuration, Host, Source
from sampan.ingress.nginx.directives import Unrenderable
from sampan.ingress.nginx.master import Master, NginxError, Place
from sampan.ingress.nginx.metrics import ReloadMetrics, RequestMetrics
from sampan.ingress.nginx.push import Encoder, Pushed, changes, fresh_host
from sampan.ingress.nginx.render import Options, Renderer, Structure, sources, with_default
from sampan.ingress.nginx.values import Values

log = logging.getLogger("sampan.ingress.nginx")

FAKE = "Kubernetes Ingress Controller Fake Certificate"
SETTINGS = Source(kind="ConfigMap")
"""Who is told of when the settings, the listeners or the streams are refused."""
OLD_GENERATIONS = 16
"""Workers of more reloads than this that still end old connections: the oldest are ended. Each holds its configuration,
which at 1,000 hosts is some 50 MB."""
_KEEP_SECONDS = 0.2
_CHECK_AT_MOST = 40
"""More changed hosts than this are tried at once: a reload checks everything, too."""

Rejected = tuple[tuple[Source, str], ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """`rejected` names every object of which a part is not served as asked, with nginx's reason."""

    reloaded: bool = False
    rejected: Rejected = ()


@dataclass(frozen=True, slots=True)
class _Accepted:
    """What of a host is served."""

    asked: Host
    served: Host | None
    problems: Rejected = ()


@dataclass(slots=True)
class _State:
    """What nginx has now."""

    configuration: Configuration | None = None
    structure: Structure | None = None
    pushed: Pushed | None = None
    files_before: Structure | None = None
    hosts: dict[str, _Accepted] = field(default_factory=dict)


class Nginx:
    """One nginx and what it serves.

    `start` takes over an nginx that an earlier controller has left serving. Otherwise the first `apply` starts one: it
    never listens before it knows what to answer. An nginx that ends is started again.
    """

    def __init__(self, place: Place, workers: int | None = None) -> None:
        self._place = place
        self._master = Master(place)
        user = "root" if os.geteuid() == 0 and place.user_id is None else ""
        self._workers = workers or len(os.sched_getaffinity(0))
        options = Options(
            private=place.private, workers=self._workers, user=user,
            resolvers=_resolvers(Path("/etc/resolv.conf")),
        )  # fmt: skip
        self._renderer, self._encoder = Renderer(options), Encoder()
        self._state = _State()
        self._lock, self._push_lock = asyncio.Lock(), asyncio.Lock()
        self._newest: Configuration | None = None
        """What was given last, perhaps while a reload brings what was given before."""
        self._keeper: asyncio.Task[None] | None = None
        self._fallback: Certificate | None = None
        self._metrics: ReloadMetrics | None = None
        self.reloads = 0

    @property
    def pid(self) -> int:
        """The master's process, 0 while none runs."""
        return self._master.pid

    @property
    def master(self) -> Master:
        return self._master

    def observe(self, registry: Registry, own: tuple[str, str, str]) -> RequestMetrics:
        """Show metrics in `registry`, with the controller's class, namespace and pod; the caller runs what it gets."""
        self._metrics = ReloadMetrics(registry, own)
        return RequestMetrics(registry, self._master, own)

    async def start(self) -> None:
        """Prepare the directories, and adopt an nginx that is there."""
        self._master.prepare()
        self._fallback = self._fallback or _fake_certificate(self._place.private, self._master)
        if self._master.adopt():
            self._state.structure = await self._master.served()
            log.info("took over nginx, process %d", self._master.pid)
        self._keeper = asyncio.create_task(self._keep(), name="nginx keeper")

    async def stop(self, seconds: float = 30.0) -> None:
        """End nginx; open requests may end within `seconds`."""
        await self.detach()
        async with self._lock:
            await self._master.stop(seconds=seconds)

    async def detach(self) -> None:
        """Leave nginx serving for a successor."""
        if self._keeper:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None

    async def apply(self, configuration: Configuration) -> Applied:
        """Serve this. A part that nginx refuses stays as it was before, and everything else is served."""
        if self._lock.locked():
            await self.push(configuration)
        self._newest = configuration
        async with self._lock:
            return await self._apply(configuration)

    async def push(self, configuration: Configuration) -> None:
        """Endpoints, canaries and certificates at once, even while a reload is under way; nothing is taken away yet."""
        self._newest = configuration
        if self._fallback is not None:
            await self._push(self._encoder.texts(configuration, self._fallback), with_deletions=False)

    async def _apply(self, configuration: Configuration) -> Applied:
        assert self._fallback is not None, "start() comes first"
        pushed = self._encoder.texts(configuration, self._fallback)
        await self._push(pushed, with_deletions=False)  # endpoints do not wait for the rendering of thousands of hosts
        served, hosts, problems = await self._acceptable(configuration)
        structure = self._renderer.structure(served)
        reloaded = False
        if self._changed(structure) or not self._master.is_alive():
            await self._push(replace(pushed, fresh=self._fresh(served)), with_deletions=False)
            try:
                await self._bring(structure, pushed)
            except NginxError as refusal:
                if self._metrics:
                    self._metrics.refused()
                served, hosts, structure, more = await self._without_culprits(configuration, refusal)
                problems += more
                if self._changed(structure) or not self._master.is_alive():
                    await self._bring(structure, pushed)
            reloaded = True
            self.reloads += 1
            if self._metrics:
                self._metrics.reloaded(zlib.crc32(structure.text.encode()))
        if self._newest is not None and self._newest is not configuration:
            pushed = pushed | self._encoder.texts(self._newest, self._fallback)
        await self._push(pushed, with_deletions=True)
        self._state.configuration, self._state.structure, self._state.hosts = served, structure, hosts
        rejected = [*problems, *(problem for host in hosts.values() for problem in host.problems)]
        return Applied(reloaded, tuple(dict.fromkeys(rejected)))

    def _fresh(self, served: Configuration) -> dict[str, str]:
        """New hosts that answer before the reload that brings them."""
        before = {host.name for host in self._state.configuration.hosts} if self._state.configuration else None
        if before is None:
            return {}
        code = Values(served.settings).number("http-redirect-code", 308)
        new = (host for host in served.hosts if host.name not in before)
        return {host.name: text for host in new if (text := fresh_host(host, code))}

    def _changed(self, structure: Structure) -> bool:
        """Names of files are made from their contents; one that is there and not wanted changes nothing."""
        now = self._state.structure
        return now is None or now.text != structure.text or not structure.files.keys() <= now.files.keys()

    async def _push(self, pushed: Pushed, with_deletions: bool) -> None:
        async with self._push_lock:
            await self._push_in_order(pushed, with_deletions)

    async def _push_in_order(self, pushed: Pushed, with_deletions: bool) -> None:
        if not self._master.is_alive():
            return
        body = changes(self._state.pushed, pushed, with_deletions)
        if body:
            await self._master.request("POST", "/push", body)
        if self._state.pushed is None or with_deletions:
            self._state.pushed = pushed
        else:
            self._state.pushed = self._state.pushed | pushed

    async def _bring(self, structure: Structure, pushed: Pushed) -> None:
        """Start or reload. Raises NginxError."""
        generation = hashlib.sha256(structure.text.encode() + os.urandom(8)).hexdigest()[:16]
        if self._master.is_alive():
            await self._master.reload(structure, generation)
        else:
            await self._master.start(structure, generation, changes(None, pushed, True))
            self._state.pushed = pushed
        keep = [s.files for s in (structure, self._state.structure, self._state.files_before) if s]
        self._master.remove_files_except(*keep)
        self._state.files_before = self._state.structure

    # --- what nginx refuses

    async def _acceptable(
        self, configuration: Configuration
    ) -> tuple[Configuration, dict[str, _Accepted], list[tuple[Source, str]]]:
        """The part of a configuration that can be served. Few changed hosts are checked beforehand."""
        known = self._state.hosts
        hosts: dict[str, _Accepted] = {}
        changed = []
        for host in with_default(configuration.hosts):
            before = known.get(host.name)
            if before is not None and (before.asked is host or before.asked == host):
                hosts[host.name] = before
            else:
                changed.append(host)
                hosts[host.name] = _Accepted(host, host)
        configuration, problems = await self._acceptable_settings(configuration)
        unrenderable = [host for host in changed if not self._renders(configuration, host)]
        if unrenderable or (self._state.structure is not None and 0 < len(changed) <= _CHECK_AT_MOST):
            few = changed if len(changed) <= _CHECK_AT_MOST else unrenderable
            if await self._refusal(configuration, few):
                for host in few:
                    hosts[host.name] = await self._examined(configuration, host)
        return _with_hosts(configuration, hosts), hosts, problems

    async def _acceptable_settings(
        self, configuration: Configuration
    ) -> tuple[Configuration, list[tuple[Source, str]]]:
        before = self._state.configuration
        if before is not None and before.settings == configuration.settings:
            return configuration, []
        refusal = await self._refusal(configuration, ())
        if not refusal:
            return configuration, []
        log.warning("settings refused: %s", refusal)
        settings = before.settings if before is not None else type(configuration.settings)()
        return replace(configuration, settings=settings), [(SETTINGS, refusal)]

    def _renders(self, configuration: Configuration, host: Host) -> bool:
        try:
            self._renderer.check(configuration, (host,))
        except Unrenderable:
            return False
        return True

    async def _refusal(self, configuration: Configuration, hosts: Iterable[Host]) -> str:
        """Why nginx would not take these hosts, or nothing."""
        try:
            await self._master.check(self._renderer.check(configuration, hosts))
        except (Unrenderable, NginxError) as problem:
            return str(problem)
        return ""

    async def _examined(self, configuration: Configuration, host: Host) -> _Accepted:
        """Take what is wrong out of a host: of each object in turn, then the host as a whole."""
        refusal = await self._refusal(configuration, (host,))
        if not refusal:
            return _Accepted(host, host)
        before = self._state.hosts.get(host.name)
        good = before.served if before else None
        bad: dict[Source, str] = {}
        if not await self._refusal(configuration, (replace(host, routes=()),)):
            for source in sources(host):
                own = tuple(route for route in host.routes if route.source == source)
                if why := await self._refusal(configuration, (replace(host, routes=own),)):
                    bad[source] = why
        if bad:
            old = tuple(route for route in good.routes if route.source in bad) if good else ()
            kept = tuple(route for route in host.routes if route.source not in bad)
            taken = {route.path for route in kept}
            candidate = replace(host, routes=(*kept, *(route for route in old if route.path not in taken)))
            if not await self._refusal(configuration, (candidate,)):
                return _Accepted(host, candidate, tuple(bad.items()))
        everyone = tuple((source, refusal) for source in sources(host)) or ((SETTINGS, refusal),)
        if good is not None and await self._refusal(configuration, (good,)):
            good = None
        return _Accepted(host, good, everyone)

    async def _without_culprits(
        self, configuration: Configuration, refusal: NginxError
    ) -> tuple[Configuration, dict[str, _Accepted], Structure, list[tuple[Source, str]]]:
        """A reload failed: find whose fault it is among all that has changed since the last that worked."""
        log.warning("nginx refused a configuration: %s", refusal)
        configuration, problems = await self._acceptable_settings(configuration)
        hosts = {host.name: self._state.hosts.get(host.name) or _Accepted(host, host)
                 for host in with_default(configuration.hosts)}  # fmt: skip
        changed = [h for h in with_default(configuration.hosts)
                   if hosts[h.name].asked != h or h.name not in self._state.hosts]  # fmt: skip
        for host in changed:
            hosts[host.name] = _Accepted(host, host)
        culprits = await self._bisect(configuration, changed)
        for host in culprits:
            hosts[host.name] = await self._examined(configuration, host)
        served = _with_hosts(configuration, hosts)
        if not culprits:
            # No host is to blame: a port that is taken, or streams. They stay as they were.
            before = self._state.configuration
            problems.append((SETTINGS, str(refusal)))
            if before is None:
                served = replace(served, streams=())
            else:
                served = replace(served, streams=before.streams, listeners=before.listeners)
        return served, hosts, self._renderer.structure(served), problems

    async def _bisect(self, configuration: Configuration, hosts: list[Host]) -> list[Host]:
        if not hosts or not await self._refusal(configuration, hosts):
            return []
        if len(hosts) == 1:
            return hosts
        middle = len(hosts) // 2
        return [*await self._bisect(configuration, hosts[:middle]), *await self._bisect(configuration, hosts[middle:])]

    # --- keeping it alive

    async def _keep(self) -> None:
        """Start nginx again when it has ended, and bound what old workers hold."""
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            async with self._lock:
                self._end_oldest()
                structure, pushed = self._state.structure, self._state.pushed
                if structure is None or pushed is None or self._master.is_alive():
                    continue
                log.error("nginx ended; starting it again")
                try:
                    await self._bring(structure, pushed)
                except NginxError as problem:
                    log.error("nginx does not start: %s", problem)
                    await asyncio.sleep(1)

    def _end_oldest(self) -> None:
        old = self._master.old_workers()
        for pid in old[: max(0, len(old) - OLD_GENERATIONS * self._workers)]:
            log.warning("ending the old worker %d and its connections: %d are left of earlier reloads", pid, len(old))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _with_hosts(configuration: Configuration, hosts: dict[str, _Accepted]) -> Configuration:
    served = tuple(accepted.served for accepted in hosts.values() if accepted.served is not None)
    return replace(configuration, hosts=served)


def _resolvers(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    words = [line.split() for line in lines]
    found = [w[1] for w in words if len(w) > 1 and w[0] == "nameserver" and "%" not in w[1]]
    return tuple(f"[{address}]" if ":" in address else address for address in found)


def _fake_certificate(private: Path, master: Master) -> Certificate:
    """The certificate for names that have none: self-signed, made once per private directory."""
    path = private / "default.pem"
    if not path.exists():
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Acme Co"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, FAKE),
        ])  # fmt: skip
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5)).not_valid_after(now + datetime.timedelta(days=365))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("ingress.local")]), critical=False)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        pem = serialization.Encoding.PEM
        private_key = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        master.write(path, certificate.public_bytes(pem) + private_key)
    content = path.read_bytes()
    at = content.index(b"-----BEGIN PRIVATE KEY-----")
    return Certificate(FAKE, content[:at], content[at:])
