"""The memory of a translation: what each object has led to, so that a change costs what it touches.

Changes are found by comparing objects by identity with those of the last time. So the order of events does not matter,
and no event can be missed. What an Ingress refers to (Secrets, ConfigMaps) is compared for the references only.
"""

from collections.abc import Iterable, Mapping
from itertools import chain, filterfalse

from sampan.api.core_v1 import Secret, Service
from sampan.api.discovery_v1 import EndpointSlice
from sampan.api.networking_v1 import Ingress, IngressClass
from sampan.ingress import values
from sampan.ingress.annotations.parse import Annotations
from sampan.ingress.model import (
    Backend,
    Certificate,
    Configuration,
    Host,
    LoadBalancing,
    Settings,
    Source,
    Stream,
    Text,
)
from sampan.ingress.settings import value
from sampan.ingress.translate import backends, certificates, hosts, ingresses, names, streams
from sampan.ingress.translate.certificates import Checked
from sampan.ingress.translate.changes import Told, changed_references, difference, drop, put
from sampan.ingress.translate.hosts import DEFAULT_BACKEND, Merged
from sampan.ingress.translate.ingresses import Part
from sampan.ingress.translate.types import Key, Objects, Options, Problem, Shadowed, Translation, Wanted


class Translator:
    """Translates the same cluster again and again. Not for several threads."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._options: Options | None = None
        self._forget()

    def _forget(self) -> None:
        self._ingresses: dict[Key, Ingress] = {}
        self._classes: dict[Key, IngressClass] = {}
        self._services: dict[Key, Service] = {}
        self._slices: dict[Key, EndpointSlice] = {}
        self._slices_of: dict[Key, dict[Key, EndpointSlice]] = {}
        self._references: dict[Key, object] = {}
        self._map_references: dict[Key, object] = {}
        self._secret_users: dict[Key, set[Key]] = {}
        self._map_users: dict[Key, set[Key]] = {}
        self._tls_users: dict[Key, set[Key]] = {}
        self._checked: dict[Key, Checked | None] = {}
        self._parts: dict[Key, Part] = {}
        self._served: dict[Source, Annotations] = {}
        self._naming: dict[str, dict[Key, Part]] = {}
        self._merged: dict[str, Merged] = {}
        self._wanted: dict[str, dict[object, Wanted]] = {}
        self._service_backends: dict[Key, set[str]] = {}
        self._backends: dict[str, Backend] = {}
        self._certificate_users: dict[str, set[str]] = {}
        self._shadowed: dict[str, tuple[Shadowed, ...]] = {}
        self._named: dict[str, Host] = {}
        self._order: list[str] = []
        self._claiming: set[str] = set()
        self._settled: dict[str, Host] | None = None
        self._used: dict[str, Certificate] | None = None
        self._problems = Told()
        self._snippets: dict[Key, tuple[Source, str]] = {}
        self._globally_wanted: list[Wanted] = []
        self._default: tuple[Secret | None, Checked] = (None, Checked())

    def translate(self, objects: Objects, settings: Settings, options: Options) -> Translation:
        """Another setting or option may change everything: nothing is remembered then."""
        if settings != self._settings or options != self._options:
            self._forget()
            self._settings, self._options = settings, options
        dirty = self._changed_ingresses(objects, options)
        changed_secrets = changed_references(self._references, self._secret_users, objects.secrets)
        changed_maps = changed_references(self._map_references, self._map_users, objects.config_maps)
        for key in changed_secrets:
            dirty |= self._secret_users[key]
        for key in changed_maps:
            dirty |= self._map_users[key]
        dirty_hosts: set[str] = set()
        for key in dirty:
            dirty_hosts |= self._read(key, objects, settings, options)
        for old, users in ((self._references, self._secret_users), (self._map_references, self._map_users)):
            for key in old.keys() - users.keys():
                del old[key]
        new = self._secret_users.keys() - self._references.keys()
        changed_secrets |= changed_references(self._references, new, objects.secrets)
        new = self._map_users.keys() - self._map_references.keys()
        changed_references(self._map_references, new, objects.config_maps)
        self._check_certificates(changed_secrets, objects)
        dirty_backends = self._changed_backends(objects)
        for name in dirty_hosts:
            dirty_backends |= self._merge(name, settings, options)
        globally = self._global(objects, settings, options)
        dirty_backends |= globally.dirty
        for name in dirty_backends:
            self._fill(name, options)
        return self._result(objects, settings, options, globally)

    # --- what has changed

    def _changed_ingresses(self, objects: Objects, options: Options) -> set[Key]:
        if difference(self._classes, objects.classes):
            self._classes = dict(objects.classes)
            dirty = self._ingresses.keys() | objects.ingresses.keys()
        else:
            dirty = difference(self._ingresses, objects.ingresses)
        for key in dirty:
            put(self._ingresses, key, objects.ingresses.get(key))
        return set(dirty)

    def _changed_backends(self, objects: Objects) -> set[str]:
        """Names of backends whose Service or EndpointSlices have changed."""
        touched = difference(self._services, objects.services)
        for key in touched:
            put(self._services, key, objects.services.get(key))
        for key in difference(self._slices, objects.slices):
            old, new = self._slices.get(key), objects.slices.get(key)
            put(self._slices, key, new)
            if old is not None and (service := _service_of(old)) is not None:
                touched.add(service)
                of_service = self._slices_of[service]
                del of_service[key]
                if not of_service:
                    del self._slices_of[service]
            if new is not None and (service := _service_of(new)) is not None:
                touched.add(service)
                self._slices_of.setdefault(service, {})[key] = new
        return {name for key in touched for name in self._service_backends.get(key, ())}

    def _check_certificates(self, changed: set[Key], objects: Objects) -> None:
        """Load the certificates of Secrets that have changed; of Secrets that nobody has read, nothing is known."""
        for key in self._checked.keys() - self._tls_users.keys():
            del self._checked[key]
        for key in (changed & self._tls_users.keys()) | (self._tls_users.keys() - self._checked.keys()):
            self._used = None
            self._checked.pop(key, None)
            if key in objects.secrets:
                secret = objects.secrets[key]
                self._checked[key] = certificates.check(secret) if secret is not None else None

    # --- one Ingress

    def _read(self, key: Key, objects: Objects, settings: Settings, options: Options) -> set[str]:
        """Read one Ingress again; the hosts that this changes."""
        ingress, old = self._ingresses.get(key), self._parts.get(key)
        new: Part | None = None
        if ingress is not None and ingresses.is_ours(ingress, self._classes, options):
            new = ingresses.part(ingress, settings, options, objects.secrets, objects.config_maps)
        if old is not None:
            self._disown(key, old)
        if new is None:
            self._parts.pop(key, None)
            self._problems.put(("ingress", *key), ())
            return set(_hosts_of(old)) if old is not None else set()
        self._own(key, new)
        self._problems.put(("ingress", *key), new.problems)
        if old == new and not new.certificates:
            return set()
        return {*_hosts_of(new), *(_hosts_of(old) if old is not None else ())}

    def _own(self, key: Key, part: Part) -> None:
        self._parts[key] = part
        self._served[part.source] = part.annotations
        for each in part.secrets:
            self._secret_users.setdefault(each, set()).add(key)
        for each in part.certificates:
            self._tls_users.setdefault(each, set()).add(key)
        for each in part.config_maps:
            self._map_users.setdefault(each, set()).add(key)
        for host in _hosts_of(part):
            self._naming.setdefault(host, {})[key] = part
        if snippet := part.annotations.get("stream-snippet", ""):
            self._snippets[key] = (part.source, snippet)

    def _disown(self, key: Key, part: Part) -> None:
        self._served.pop(part.source, None)
        self._snippets.pop(key, None)
        for each in part.secrets:
            drop(self._secret_users, each, key)
        for each in part.certificates:
            drop(self._tls_users, each, key)
        for each in part.config_maps:
            drop(self._map_users, each, key)
        for host in _hosts_of(part):
            self._naming[host].pop(key, None)

    # --- one host

    def _merge(self, name: str, settings: Settings, options: Options) -> set[str]:
        """Merge one host again; the names of backends that are wanted otherwise than before."""
        old = self._merged.pop(name, None)
        parts = self._naming.get(name)
        merged = None
        if parts:
            merged = hosts.merge(name, ingresses.in_order(list(parts.values())), settings, options, self._checked)
            self._merged[name] = merged
        else:
            self._naming.pop(name, None)
        self._problems.put(("host", name), merged.problems if merged else ())
        put(self._shadowed, name, (merged.shadowed or None) if merged else None)
        self._put_host(name, merged.host if merged else None)
        if (old.certificates if old else frozenset()) != (merged.certificates if merged else frozenset()):
            self._used = None
        for certificate in old.certificates if old else ():
            drop(self._certificate_users, certificate, name)
        for certificate in merged.certificates if merged else ():
            self._certificate_users.setdefault(certificate, set()).add(name)
        return self._want(("host", name), old.wanted if old else (), merged.wanted if merged else ())

    def _put_host(self, name: str, host: Host | None) -> None:
        claims = host is not None and bool(host.aliases or host.redirect_from)
        if (name in self._named) != (host is not None):
            self._order = []
            self._settled = None if self._claiming else self._settled
        if claims or name in self._claiming:
            self._settled = None
            (self._claiming.add if claims else self._claiming.discard)(name)
        put(self._named, name, host)

    def _want(self, user: object, old: Iterable[Wanted], new: Iterable[Wanted]) -> set[str]:
        before = {(each.name, each.source): each for each in old}
        after = {(each.name, each.source): each for each in new}
        for key, each in before.items():
            if key not in after:
                users = self._wanted[each.name]
                users.pop((user, each.source), None)
                if not users:
                    del self._wanted[each.name]
                    drop(self._service_backends, (each.key.namespace, each.key.service), each.name)
        for each in after.values():
            self._wanted.setdefault(each.name, {})[user, each.source] = each
            self._service_backends.setdefault((each.key.namespace, each.key.service), set()).add(each.name)
        return {name for name, _ in before.keys() ^ after.keys()}

    def _fill(self, name: str, options: Options) -> None:
        """Find the endpoints of one backend, or drop it."""
        users = self._wanted.get(name)
        if not users:
            self._backends.pop(name, None)
            self._problems.put(("backend", name), ())
            return
        wanted = next(iter(users.values()))
        service = (wanted.key.namespace, wanted.key.service)
        slices = tuple(self._slices_of.get(service, {}).values())
        found = backends.find(wanted, self._services.get(service), slices, options)
        if self._backends.get(name) != found.backend:
            self._backends[name] = found.backend
        sources = sorted({each.source for each in users.values()}) if found.reason else []
        self._problems.put(("backend", name), tuple(Problem(each, found.reason, found.message) for each in sources))

    # --- what belongs to no Ingress

    def _global(self, objects: Objects, settings: Settings, options: Options) -> "_Global":
        found = _Global()
        wanted: list[Wanted] = []
        if options.default_backend_service:
            key = hosts.default_key(options)
            source = Source(key.namespace, key.service, "Service")
            wanted.append(Wanted(DEFAULT_BACKEND, key, LoadBalancing(), False, source))
        problems: list[Problem] = []
        for name, protocol in ((options.tcp_services_configmap, "TCP"), (options.udp_services_configmap, "UDP")):
            if data := found.config_map(name, objects, problems):
                source = _config_map_source(name)
                made = streams.streams(data, "TCP" if protocol == "TCP" else "UDP", source, options)
                found.streams += made[0]
                wanted += made[1]
                problems += made[2]
        for setting in ("proxy-set-headers", "add-headers"):
            name = value(settings, setting, str)
            data = found.config_map(name, objects, problems) if name else None
            found.headers[setting] = _header_texts(data or {}, name, problems)
        if options.default_ssl_certificate:
            found.default_certificate(options.default_ssl_certificate, objects, self, problems)
        self._problems.put(("global",), tuple(problems))
        found.dirty = self._want("global", self._globally_wanted, wanted)
        self._globally_wanted = wanted
        return found

    def check_default(self, secret: Secret) -> Checked:
        """The default certificate, loaded when its Secret is another one than before."""
        if self._default[0] is not secret:
            self._default = (secret, certificates.check(secret))
        return self._default[1]

    # --- the result

    def _hosts(self) -> tuple[Host, ...]:
        """All hosts by name; names that several claim are settled when a claim or a name has changed."""
        if not self._order:
            self._order = sorted(self._named)
        if self._settled is None:
            self._settled, problems = names.settle(self._named, self._claiming, self._naming)
            self._problems.put(("names",), problems)
        found = self._named | self._settled if self._settled else self._named
        return tuple(map(found.__getitem__, self._order))

    def _used_certificates(self) -> dict[str, Certificate]:
        if self._used is None:
            self._used = {}
            for name in self._certificate_users:
                namespace, _, secret = name.partition("/")
                checked = self._checked.get((namespace, secret))
                if checked is not None and checked.certificate is not None:
                    self._used[name] = checked.certificate
        return dict(self._used)

    def _result(self, objects: Objects, settings: Settings, options: Options, globally: "_Global") -> Translation:
        used = self._used_certificates()
        if globally.certificate is not None:
            used[globally.certificate.name] = globally.certificate
        configuration = Configuration(
            listeners=options.listeners,
            hosts=self._hosts(),
            backends=dict(self._backends),
            certificates=used,
            default_certificate=globally.certificate.name if globally.certificate is not None else "",
            default_backend=DEFAULT_BACKEND if options.default_backend_service else "",
            streams=tuple(globally.streams),
            settings=settings,
            request_headers=globally.headers["proxy-set-headers"],
            response_headers=globally.headers["add-headers"],
            stream_snippets=tuple(self._snippets[key] for key in sorted(self._snippets)),
        )
        secrets = self._secret_users.keys() | globally.secrets
        config_maps = self._map_users.keys() | globally.config_maps
        missing = set(filterfalse(objects.secrets.__contains__, secrets))
        missing |= set(filterfalse(objects.config_maps.__contains__, config_maps))
        return Translation(
            configuration=configuration,
            problems=self._problems.sorted(),
            served=dict(self._served),
            secrets=frozenset(secrets),
            config_maps=frozenset(config_maps),
            missing=frozenset(missing),
            shadowed=tuple(chain.from_iterable(self._shadowed[name] for name in sorted(self._shadowed))),
        )


class _Global:
    """What is made from the controller's own ConfigMaps and Secret."""

    def __init__(self) -> None:
        self.dirty: set[str] = set()
        self.streams: list[Stream] = []
        self.headers: dict[str, tuple[tuple[str, Text], ...]] = {}
        self.certificate: Certificate | None = None
        self.secrets: set[Key] = set()
        self.config_maps: set[Key] = set()

    def config_map(self, name: str, objects: Objects, problems: list[Problem]) -> Mapping[str, str] | None:
        namespace, _, rest = name.partition("/")
        if not rest:
            return None
        key = (namespace, rest)
        self.config_maps.add(key)
        found = objects.config_maps.get(key)
        if found is None and key in objects.config_maps:
            problems.append(Problem(Source(*key, "ConfigMap"), "MissingConfigMap", f"ConfigMap {name} does not exist"))
        return found.data if found is not None else None

    def default_certificate(self, name: str, objects: Objects, translator: Translator, problems: list[Problem]) -> None:
        namespace, _, rest = name.partition("/")
        key = (namespace, rest)
        self.secrets.add(key)
        secret = objects.secrets.get(key)
        if secret is None:
            if key in objects.secrets:
                message = f"Secret {name} does not exist; a self-signed certificate is served by default"
                problems.append(Problem(Source(*key, "Secret"), "MissingSecret", message))
            return
        checked = translator.check_default(secret)
        self.certificate = checked.certificate
        if checked.wrong:
            message = f"{checked.wrong}; a self-signed certificate is served by default"
            problems.append(Problem(Source(*key, "Secret"), "InvalidCertificate", message))


# --- small things


def _hosts_of(part: Part) -> tuple[str, ...]:
    return (*part.hosts, "") if part.catch_all is not None and "" not in part.hosts else part.hosts


def _service_of(each: EndpointSlice) -> Key | None:
    name = each.metadata.labels.get(backends.SERVICE_NAME)
    return (each.metadata.namespace, name) if name else None


def _config_map_source(name: str) -> Source:
    namespace, _, rest = name.partition("/")
    return Source(namespace, rest, "ConfigMap")


def _header_texts(data: Mapping[str, str], name: str, problems: list[Problem]) -> tuple[tuple[str, Text], ...]:
    good: list[tuple[str, Text]] = []
    for header, text in sorted(data.items()):
        try:
            good.append((values.header(header), values.text(text.strip())))
        except ValueError as error:
            source = _config_map_source(name)
            problems.append(Problem(source, "InvalidConfigMap", f"header {header[:60]!r}: {error}; it is left out"))
    return tuple(good)
