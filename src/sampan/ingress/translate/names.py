"""Aliases and www redirects of hosts, which must not take what another host has."""

from collections.abc import Mapping
from dataclasses import replace

from sampan.ingress.model import Host
from sampan.ingress.translate.ingresses import Part, in_order
from sampan.ingress.translate.types import Key, Problem


def settle(
    named: Mapping[str, Host], claiming: set[str], naming: Mapping[str, Mapping[Key, Part]]
) -> tuple[dict[str, Host], tuple[Problem, ...]]:
    """The hosts among `claiming` that lose a name, without it: a real host has it first, then the older Ingress.

    `claiming` are the hosts with aliases or a redirect, `naming` the Ingresses that name each host.
    """
    first = {name: next(p for p in naming[name].values() if p.source == named[name].source) for name in claiming}
    order = {id(part): number for number, part in enumerate(in_order(list(first.values())))}
    taken = dict.fromkeys(named, "")
    settled: dict[str, Host] = {}
    found: list[Problem] = []
    for name in sorted(claiming, key=lambda each: (order[id(first[each])], each)):
        host = named[name]
        kept = []
        for alias in dict.fromkeys(host.aliases):
            if alias in taken:
                other = f"an alias of host {taken[alias]}" if taken[alias] else "a host of its own"
                message = f"host {name}: server-alias {alias} is {other}; it leads there"
                found.append(Problem(host.source, "AliasConflict", message))
            else:
                taken[alias] = name
                kept.append(alias)
        redirect = host.redirect_from
        if redirect and redirect in taken:
            message = f"host {name}: {redirect} is served by itself; from-to-www-redirect has no effect"
            found.append(Problem(host.source, "AliasConflict", message))
            redirect = ""
        elif redirect:
            taken[redirect] = name
        if (tuple(kept), redirect) != (host.aliases, host.redirect_from):
            settled[name] = replace(host, aliases=tuple(kept), redirect_from=redirect)
    return settled, tuple(found)
