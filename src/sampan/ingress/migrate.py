"""What will differ when this controller takes over from a running ingress-nginx: `sampan ingress migrate`.

Pure. `controllers` finds ingress-nginx among Deployments and DaemonSets; `report` reads its flags, its ConfigMap and
its Ingresses and has a line for each difference, with the object that it is about. What is the same there is left out,
except for faults that ingress-nginx does not tell of.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sampan.api.networking_v1 import Ingress
from sampan.ingress.model import Configuration, Source
from sampan.ingress.report import Report, Step, fine, note, wrong
from sampan.ingress.settings import parse
from sampan.ingress.translate import translate
from sampan.ingress.translate.ingresses import CLASS_ANNOTATION, is_ours
from sampan.ingress.translate.types import Objects, Options, Problem, Translation

_IMAGE = re.compile(
    r"(?:^|/)(?:ingress-nginx/controller|nginx-ingress-controller)[^:@]*(?::v?(\d+)\.(\d+)[\w.-]*)?(?:@|$)", re.ASCII
)
_PROGRAM = "nginx-ingress-controller"
_VARIABLE = re.compile(r"\$\(([A-Za-z_]\w*)\)", re.ASCII)
_DIFFER = frozenset({"RefusedAnnotation", "InvalidPath", "UnsupportedBackend", "InvalidExternalName", "CanaryOfItself"})
"""Reasons of problems with which ingress-nginx would do something else than we do."""


@dataclass(frozen=True, slots=True)
class Controller:
    """A running ingress-nginx. `version` is (0, 0) where its image does not tell."""

    source: Source
    image: str
    arguments: tuple[str, ...]
    version: tuple[int, int] = (0, 0)


def controllers(workloads: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Controller]:
    """ingress-nginx among workloads, as (kind, object) pairs; objects are as the API server sends them."""
    found = []
    for kind, obj in workloads:
        metadata = obj.get("metadata") or {}
        source = Source(str(metadata.get("namespace", "")), str(metadata.get("name", "")), kind)
        pod = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
        for container in pod.get("containers") or ():
            words = [str(word) for word in (*(container.get("command") or ()), *(container.get("args") or ()))]
            match = _IMAGE.search(str(container.get("image", "")))
            if match is None and not any(word.rsplit("/", 1)[-1] == _PROGRAM for word in words):
                continue
            version = (int(match[1]), int(match[2])) if match is not None and match[1] else (0, 0)
            flags = tuple(_filled(word, container, source) for word in words if word.startswith("-"))
            found.append(Controller(source, str(container.get("image", "")), flags, version))
    return found


def _filled(word: str, container: Mapping[str, Any], source: Source) -> str:
    """A word with $(NAME) replaced as the kubelet replaces it, as far as that can be told from the template."""
    known = {str(each.get("name")): each for each in container.get("env") or ()}

    def value(found: re.Match[str]) -> str:
        variable = known.get(found[1])
        if variable is None:
            return found[0]
        field = ((variable.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath")
        return source.namespace if field == "metadata.namespace" else str(variable.get("value", found[0]))

    return _VARIABLE.sub(value, word)


def report(
    controller: Controller,
    objects: Objects,
    data: Mapping[str, str],
    options: Options,
    flags: Sequence[str] = (),
) -> Report:
    """Everything that will differ. `data` is its ConfigMap's, `options` are its flags as we read them, and `flags` are
    sentences about flags that have no effect here."""
    steps = [fine("found", f"{controller.source.kind} {_shown(controller.source)} with image {controller.image}")]
    steps += [wrong("flag", each) for each in flags]
    steps += _about_settings(controller, data)
    ours = [each for each in objects.ingresses.values() if is_ours(each, objects.classes, options)]
    classless = [each for each in objects.ingresses.values() if _is_classless(each)]
    if classless and not options.watch_ingress_without_class and _is_old(controller, (1, 0)):
        for each in classless:
            text = "it has no class; ingress-nginx before 1.0 serves it: start with --watch-ingress-without-class"
            steps.append(wrong(_name(each), text))
        options = replace(options, watch_ingress_without_class=True)
    settings, _ = parse(data)
    made = translate(objects, settings, options)
    differing: set[Source] = set()
    for problem in made.problems:
        step = _about_problem(problem, controller)
        differing |= {problem.object} if step.verdict.name == "WRONG" else set()
        steps.append(step)
    for source, text in sorted(set(_about_routes(made, ours))):
        differing.add(source)
        steps.append(wrong(f"Ingress {_shown(source)}", text))
    count = sum(source.kind == "Ingress" for source in differing)
    steps.append(note("sum", f"{len(made.served)} Ingresses, of which {count} will be served otherwise"))
    return Report(f"Moving from {controller.source.kind} {_shown(controller.source)}", tuple(steps))


def _is_old(controller: Controller, version: tuple[int, int]) -> bool:
    return controller.version != (0, 0) and controller.version < version


def _is_classless(ingress: Ingress) -> bool:
    return ingress.spec.ingress_class_name is None and CLASS_ANNOTATION not in ingress.metadata.annotations


def _about_settings(controller: Controller, data: Mapping[str, str]) -> Iterator[Step]:
    for key, message in parse(data)[1]:
        yield wrong("ConfigMap", f"{key}: {message}")
    if "worker-shutdown-timeout" not in data:
        yield note("ConfigMap", "worker-shutdown-timeout: open connections outlive reloads; there they end after 240 s")
    if _is_old(controller, (1, 9)) and "allow-snippet-annotations" not in data:
        text = "allow-snippet-annotations: it is false by default, before 1.9 it was true"
        yield wrong("ConfigMap", text)
    if _is_old(controller, (1, 12)) and "annotations-risk-level" not in data:
        yield wrong("ConfigMap", "annotations-risk-level: it is High by default, before 1.12 it was Critical")
    if _is_old(controller, (1, 12)) and "allow-cross-namespace-resources" not in data:
        text = "allow-cross-namespace-resources: it is false by default, before 1.12 it was true"
        yield wrong("ConfigMap", text)
    if _is_old(controller, (1, 12)) and "strict-validate-path-type" not in data:
        yield wrong("ConfigMap", "strict-validate-path-type: it is true by default, before 1.12 it was false")


def _about_problem(problem: Problem, controller: Controller) -> Step:
    title = f"{problem.object.kind} {_shown(problem.object)}"
    rejected = problem.reason in ("AnnotationRisk", "CrossNamespace") and _is_old(controller, (1, 12))
    if problem.reason in _DIFFER or rejected:
        return wrong(title, problem.message)
    return note(title, f"{problem.message} (with ingress-nginx, too)")


def _about_routes(made: Translation, ours: Sequence[Ingress]) -> Iterator[tuple[Source, str]]:
    """Differences that no problem tells of, because with us nothing is wrong."""
    for each in ours:
        source = Source(each.metadata.namespace, each.metadata.name)
        for rule in each.spec.rules:
            for one in rule.http.paths if rule.http else ():
                if one.path_type == "Prefix" and len(one.path) > 1 and one.path.endswith("/"):
                    stem = one.path.rstrip("/")
                    yield source, f"path {one.path}: {stem} is served, too; there it is redirected to {one.path}"
    for source, annotations in made.served.items():
        for name in ("configuration-snippet", "server-snippet", "stream-snippet", "auth-snippet"):
            if name in annotations.values:
                yield source, f"{name}: it is read by nginx 1.22 of Debian; other modules than there are built in"
    yield from _about_canaries(made.configuration)


def _about_canaries(configuration: Configuration) -> Iterator[tuple[Source, str]]:
    users: dict[str, set[str]] = {}
    for host in configuration.hosts:
        for route in host.routes:
            users.setdefault(route.backend, set()).add(f"{host.name or '*'}{route.path.value}")
    for host in configuration.hosts:
        for route in host.routes:
            for number, canary in enumerate(route.canaries):
                where = f"{host.name or '*'}{route.path.value}"
                if number:
                    yield canary.source, f"canary of {where}: it takes part; there only the first canary of a path does"
                others = sorted(users[route.backend] - {where})
                if others:
                    text = f"canary of {where}: it does not take requests of {others[0]}, which has the same Service"
                    yield canary.source, f"{text}; there it does"


def _name(ingress: Ingress) -> str:
    return f"Ingress {ingress.metadata.namespace}/{ingress.metadata.name}"


def _shown(source: Source) -> str:
    return f"{source.namespace}/{source.name}"
