"""A real nginx under hostile configurations: it keeps serving, and reads nothing that nobody has asked for."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from sampan.ingress.model import Host, Source
from sampan.ingress.nginx.directives import Directive, parse
from support.hostile import MARK, poisoned, template
from support.nginxworld import NginxWorld, backend

pytestmark = pytest.mark.kernel


def directive_names(nodes: tuple[Directive, ...]) -> set[str]:
    found = set()
    for node in nodes:
        if node.name in ("map", "geo"):
            continue  # what is inside are keys
        found.add(node.name)
        found |= directive_names(tuple(one for one in node.block or () if isinstance(one, Directive)))
    return found


def test_hostile_hosts_never_take_a_good_one_down() -> None:
    """Each is served without harm or refused by its name; the good host answers all the time."""
    full = template()
    with NginxWorld(workers=1) as world:
        web = backend("web", world.echo())
        good = Host("a.example", (world.route("/", web),))
        for turn in range(3):
            hosts = []
            for number in range(8):
                rng = random.Random(turn * 100 + number)
                host = replace(full, routes=(full.routes[number % 6], full.routes[6]), tls=None, redirect_from="")
                host = poisoned(host, rng, rng.choice((0.01, 0.05, 0.3)))
                source = Source("evil", f"{turn}-{number}")
                routes = tuple(replace(route, source=source) for route in host.routes)
                hosts.append(replace(host, name=f"h{number}.evil.example", aliases=(), routes=routes, source=source))
            applied = world.apply(world.configuration([good, *hosts], [web]))
            assert {source.namespace for source, _ in applied.rejected} <= {"evil"}
            assert world.ask("/").status == 200
            assert MARK not in directive_names(parse(world.place.configuration.read_text()))
