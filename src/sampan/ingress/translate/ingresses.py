"""One Ingress by itself: is it ours, which paths does it ask for, with which annotations.

Pure. `part` gives what hosts.py merges with the parts of other Ingresses.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sampan.api.core_v1 import ConfigMap, Secret
from sampan.api.networking_v1 import Ingress, IngressBackend, IngressClass, IngressTLS
from sampan.ingress.annotations.parse import Annotations, parse
from sampan.ingress.model import BackendKey, PathType, Settings, Source
from sampan.ingress.settings import value
from sampan.ingress.translate.filters import Features, Reading, features
from sampan.ingress.translate.types import Key, Options, Problem

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_STRICT_PATH = re.compile(r"/[A-Za-z0-9._\-/]*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_PATH = 1024
_DNS_NAME = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class PathRule:
    host: str
    path: str
    type: PathType
    """As written, ImplementationSpecific being Prefix: never REGEX."""
    key: BackendKey


@dataclass(frozen=True, slots=True)
class Part:
    """What one Ingress adds. `created` and `source` give its place among others: the oldest wins.

    `catch_all` is the backend of an Ingress without rules, `default` that of one with rules. `hosts` are those that it
    names, in order. A rejected Ingress has neither hosts nor features.
    """

    source: Source
    created: str
    annotations: Annotations
    features: Features | None = None
    hosts: tuple[str, ...] = ()
    rules: tuple[PathRule, ...] = ()
    catch_all: BackendKey | None = None
    default: BackendKey | None = None
    tls: tuple[IngressTLS, ...] = ()
    problems: tuple[Problem, ...] = ()
    certificates: frozenset[Key] = frozenset()
    secrets: frozenset[Key] = frozenset()
    config_maps: frozenset[Key] = frozenset()

    @property
    def is_canary(self) -> bool:
        return self.annotations.flag("canary")


def is_ours(ingress: Ingress, classes: Mapping[Key, IngressClass], options: Options) -> bool:
    """Whether this controller serves `ingress`. spec.ingressClassName wins over the old annotation."""
    if options.watch_namespace and ingress.metadata.namespace != options.watch_namespace:
        return False
    name = ingress.spec.ingress_class_name
    if name is not None:
        found = classes.get(("", name))
        by_name = options.ingress_class_by_name and name == options.ingress_class
        return found is not None and (by_name or found.spec.controller == options.controller_class)
    annotated = ingress.metadata.annotations.get(CLASS_ANNOTATION)
    if annotated is None or (annotated == "" and options.watch_ingress_without_class):
        return options.watch_ingress_without_class
    return annotated == options.ingress_class


def part(
    ingress: Ingress,
    settings: Settings,
    options: Options,
    secrets: Mapping[Key, Secret | None],
    config_maps: Mapping[Key, ConfigMap | None],
) -> Part:
    source = Source(ingress.metadata.namespace, ingress.metadata.name)
    created = ingress.metadata.creation_timestamp or ""
    annotations = parse(ingress.metadata.annotations, settings, options.annotations_prefix)
    fatal = bool(annotations.rejected)
    problems = [Problem(source, each.reason, each.message, fatal) for each in annotations.findings]
    if options.disable_catch_all and _is_catch_all(ingress):
        problems.append(Problem(source, "CatchAllDisabled", "the controller runs with --disable-catch-all", True))
        fatal = True
    if fatal:
        return Part(source, created, annotations, problems=tuple(problems))
    reading = Reading(source, annotations, settings, secrets, config_maps, options.annotations_prefix)
    found = features(reading)
    hosts, rules = _rules(ingress, reading)
    backend = _service(ingress.spec.default_backend, reading, "spec.defaultBackend")
    certificates = {(source.namespace, each.secret_name) for each in ingress.spec.tls if each.secret_name}
    return Part(
        source=source,
        created=created,
        annotations=annotations,
        features=found,
        hosts=hosts,
        rules=rules,
        catch_all=None if ingress.spec.rules else backend,
        default=backend if ingress.spec.rules else None,
        tls=ingress.spec.tls,
        problems=(*problems, *reading.problems),
        certificates=frozenset(certificates),
        secrets=frozenset(reading.secret_keys | certificates),
        config_maps=frozenset(reading.config_map_keys),
    )


def _is_catch_all(ingress: Ingress) -> bool:
    spec = ingress.spec
    return spec.default_backend is not None and not spec.rules


def _rules(ingress: Ingress, reading: Reading) -> tuple[tuple[str, ...], tuple[PathRule, ...]]:
    hosts: dict[str, None] = {}
    rules: list[PathRule] = []
    for number, rule in enumerate(ingress.spec.rules):
        host = rule.host.lower()
        if host and (len(host) > 253 or not _DNS_NAME.fullmatch(host)):
            reading.tell("InvalidHost", f"spec.rules[{number}].host: {host[:60]!r} is no DNS name; it is not served")
            continue
        hosts[host] = None
        for index, one in enumerate(rule.http.paths if rule.http else ()):
            where = f"spec.rules[{number}].http.paths[{index}]"
            path = one.path or "/"
            if wrong := _path_error(path, one.path_type, reading.settings):
                reading.tell("InvalidPath", f"{where}.path: {path[:60]!r}: {wrong}; the path is not served")
                continue
            key = _service(one.backend, reading, f"{where}.backend")
            if key is not None:
                kind = PathType.EXACT if one.path_type == "Exact" else PathType.PREFIX
                rules.append(PathRule(host, path, kind, key))
    return tuple(hosts), tuple(rules)


def _path_error(path: str, kind: str | None, settings: Settings) -> str:
    if not path.startswith("/"):
        return "it must begin with /"
    if len(path) > _LONGEST_PATH:
        return f"it is longer than {_LONGEST_PATH} characters"
    if _CONTROL.search(path) or not path.isprintable():
        return "it has a line break or another character that is not printable"
    if kind in ("Exact", "Prefix"):
        if value(settings, "strict-validate-path-type", bool) and not _STRICT_PATH.fullmatch(path):
            return (
                f"a path of type {kind} has letters, digits and - . _ / only; use type ImplementationSpecific for "
                "regular expressions (strict-validate-path-type)"
            )
    elif kind not in (None, "ImplementationSpecific"):
        return f"there is no path type {kind[:40]!r}"
    return ""


def _service(backend: IngressBackend | None, reading: Reading, where: str) -> BackendKey | None:
    if backend is None:
        return None
    if backend.service is None:
        if backend.resource is not None:
            kind = f"{backend.resource.kind[:60]} {backend.resource.name[:60]}"
            message = f"{where}: resource backends are not supported ({kind}); only Services are"
            reading.tell("UnsupportedBackend", message)
        else:
            reading.tell("UnsupportedBackend", f"{where} names no Service")
        return None
    return BackendKey(reading.source.namespace, backend.service.name, str(backend.service.port))


def in_order(parts: list[Part]) -> list[Part]:
    """The oldest first. Of the same second the last by name is first: ingress-nginx sorts them so."""
    parts = sorted(parts, key=lambda each: f"{each.source.namespace}/{each.source.name}", reverse=True)
    return sorted(parts, key=lambda each: each.created)


def canary_hosts(part: Part) -> Iterator[str]:
    yield from part.hosts
    if part.catch_all is not None:
        yield ""
