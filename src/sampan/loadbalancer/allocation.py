"""IP address allocation for Services of type LoadBalancer: one pure function over all of them.

`allocate` decides for all Services together, so that the result depends only on what they request and hold, not on the
order of events or restarts. Services keep the addresses that they hold, older Services first; then requests for a
specific address are served, then all others. `controller.py` writes what has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sampan.loadbalancer.pools import Pool, parse_address, quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one Service requests and what it holds. All addresses are in canonical form.

    `families` are in the order of spec.ipFamilies; with `needs_all`, the Service gets all of them or none. `backend`
    identifies the set of endpoints under externalTrafficPolicy Local, and is empty under Cluster. `held` has the
    addresses assigned so far, and `in_status` those in its status, which proxies still serve.
    """

    key: str
    uid: str
    created: str = ""
    namespace: str = "default"
    labels: dict[str, str] = field(default_factory=dict)
    families: tuple[int, ...] = (4,)
    needs_all: bool = True
    requested: tuple[str, ...] = ()
    pool: str = ""
    sharing_key: str = ""
    ports: frozenset[tuple[str, int]] = frozenset()
    backend: str = ""
    held: tuple[str, ...] = ()
    in_status: tuple[str, ...] = ()
    is_terminating: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Assigned:
    """The addresses of a Service, in the order of its families, and their pools. `lost` says why it lost an address
    that it held; empty if it lost none."""

    addresses: tuple[str, ...]
    pools: tuple[str, ...]
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a Service has no address."""

    reason: str
    lost: str = ""


Outcome = Assigned | Refused
Claim = tuple[str, str]
"""Uid and `namespace/name` of a Service that has an address."""


def allocate(
    requests: Iterable[Request], pools: Sequence[Pool], others: Mapping[str, Sequence[Claim]] | None = None
) -> dict[str, Outcome]:
    """The outcome for each Service, by uid. No two Services get one address unless they may share it.

    `others` are addresses that Services have from elsewhere: nobody else gets those. What is held already stays, since
    whoever may write a Service could else take away any address by naming it among its externalIPs.
    """
    ordered = sorted(requests, key=lambda each: (each.created, each.uid))
    table = _Table(pools)
    for each in ordered:
        table.keep(each)
    table.block(others or {})
    for each in ordered:
        table.block_until_released(each)
    named_first = sorted(ordered, key=lambda each: not each.requested)
    return {each.uid: table.assign(each) for each in named_first}


@dataclass(slots=True)
class _Users:
    """The Services that have one address, indexed: of a thousand that share one, none is compared with all others."""

    by_uid: dict[str, Request] = field(default_factory=dict)
    _kinds: dict[tuple[str, str], list[Request]] = field(default_factory=dict)
    """By sharing key and backend, which are equal for all that may share."""
    _ports: dict[tuple[str, int], Request] = field(default_factory=dict)

    @classmethod
    def of(cls, requests: Iterable[Request]) -> _Users:
        users = cls()
        for each in requests:
            users.add(each)
        return users

    def add(self, request: Request) -> None:
        self.by_uid[request.uid] = request
        self._kinds.setdefault((request.sharing_key, request.backend), []).append(request)
        for port in request.ports:
            self._ports.setdefault(port, request)

    def find_conflicting(self, request: Request) -> Request | None:
        """One that does not share its address with this Service."""
        mine = (request.sharing_key, request.backend) if request.sharing_key else None
        strangers = (one for kind, users in self._kinds.items() if kind != mine for one in users)
        if user := next((one for one in strangers if one.uid != request.uid), None):
            return user
        users_of_ports = (self._ports.get(port) for port in sorted(request.ports))
        return next((user for user in users_of_ports if user and user.uid != request.uid), None)


class _Table:
    """The addresses in use and their Services, filled step by step by `allocate`."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._blocked: dict[str, list[Claim]] = {}
        self._pools = sorted(pools, key=lambda pool: (not pool.is_restricted, pool.priority or float("inf")))
        self._users: dict[str, _Users] = {}
        self._kept: dict[str, dict[int, str]] = {}
        self._lost: dict[str, str] = {}
        self._shared: dict[str, list[str]] = {}
        self._cursors: dict[tuple[str, int], tuple[str | None, Iterator[str]]] = {}

    def keep(self, request: Request) -> None:
        """Keep those of the addresses which a Service holds that it may still have."""
        kept = self._kept[request.uid] = {}
        for address in request.held:
            parsed = parse_address(address)
            family = parsed.version if parsed else 0
            if request.is_terminating:
                problem = ""  # proxies serve its addresses until it is gone
            elif request.problem:
                problem = request.problem
            elif family not in request.families or family in kept:
                problem = f'"{address}" is of no IP family that the service has left'
            else:
                problem = self._denial(request, address) or self._other_requested(request, address, family)
            if problem:
                self._lost[request.uid] = problem
            else:
                kept[family] = address
                self._take(request, address)

    def block(self, others: Mapping[str, Sequence[Claim]]) -> None:
        """Give nobody else what Services have from elsewhere."""
        for address, claims in others.items():
            self._blocked.setdefault(address, []).extend(claims)

    def block_until_released(self, request: Request) -> None:
        """Block the addresses that a Service loses until its status no longer has them."""
        kept = self._kept[request.uid].values()
        for address in request.in_status:
            if address not in kept:
                self._blocked.setdefault(address, []).append((request.uid, request.key))

    def assign(self, request: Request) -> Outcome:
        """Assign the addresses that a Service still lacks."""
        lost = self._lost.get(request.uid, "")
        if request.is_terminating:
            return Assigned(request.held, tuple(map(self._pool_name, request.held)))
        if request.problem:
            return Refused(request.problem, lost)
        found, reason = dict(self._kept[request.uid]), ""
        for family in request.families:
            if family not in found:
                address, why = self._choose(request, family)
                if address:
                    found[family] = address
                else:
                    reason = reason or why
        if not found or (reason and request.needs_all):
            self._release(request)
            return Refused(reason, lost)
        for address in found.values():
            self._take(request, address)
        addresses = tuple(found[family] for family in dict.fromkeys((*request.families, *found)) if family in found)
        return Assigned(addresses, tuple(self._pool_name(address) for address in addresses), lost)

    def _take(self, request: Request, address: str) -> None:
        users = self._users.setdefault(address, _Users())
        if request.uid not in users.by_uid:
            users.add(request)
            if request.sharing_key and address not in self._shared.setdefault(request.sharing_key, []):
                self._shared[request.sharing_key].append(address)

    def _release(self, request: Request) -> None:
        self._cursors.clear()
        for address in self._kept[request.uid].values():
            del self._users[address].by_uid[request.uid]
            self._users[address] = _Users.of(self._users[address].by_uid.values())

    def _choose(self, request: Request, family: int) -> tuple[str, str]:
        """An address of this family, or why there is none."""
        named = [address for address in request.requested if _family(address) == family]
        if named:
            problem = self._denial(request, named[0])
            return ("", problem) if problem else (named[0], "")
        pools, reason = self._pools_for(request)
        for address in self._shared.get(request.sharing_key, ()) if request.sharing_key else ():
            usable = _family(address) == family and any(pool.contains(address) for pool in pools)
            if usable and not self._conflict(request, address):
                return address, ""
        for pool in pools:
            if free := self._first_free(pool, family):
                return free, ""
        return "", reason or f"no available IPv{family} addresses in {_listed(pools)}"

    def _pools_for(self, request: Request) -> tuple[list[Pool], str]:
        """The pools for a Service that requests no specific address, and why there are none."""
        if not self._pools:
            return [], "there is no address pool"
        if request.pool:
            named = [pool for pool in self._pools if pool.name == request.pool]
            if not named:
                return [], f"unknown pool {quoted(request.pool)}"
            if not named[0].admits(request.namespace, request.labels):
                return [], f'pool "{request.pool}" is not for this service'
            return named, ""
        pools = [pool for pool in self._pools if pool.auto_assign and pool.admits(request.namespace, request.labels)]
        return pools, "" if pools else "no address pool is for this service"

    def _first_free(self, pool: Pool, family: int) -> str | None:
        """The lowest address that is not in use. The cursor does not return to addresses that it has passed."""
        address, rest = self._cursors.get((pool.name, family)) or ("", pool.of_family(family))
        while address is not None and (not address or self._is_used(address) or address in self._blocked):
            address = next(rest, None)
        self._cursors[pool.name, family] = address, rest
        return address

    def _is_used(self, address: str) -> bool:
        users = self._users.get(address)
        return users is not None and bool(users.by_uid)

    def _denial(self, request: Request, address: str) -> str:
        """Why a Service may not have a specific address; empty if it may."""
        pool = next((one for one in self._pools if one.contains(address)), None)
        if pool is None:
            return f'"{address}" is in no address pool'
        if request.pool and pool.name != request.pool:
            return f'"{address}" is not in pool {quoted(request.pool)}'
        if not pool.admits(request.namespace, request.labels):
            return f'"{address}" is of pool "{pool.name}", which is not for this service'
        return self._conflict(request, address)

    @staticmethod
    def _other_requested(request: Request, address: str, family: int) -> str:
        named = [one for one in request.requested if _family(one) == family]
        return f'another address is requested: "{named[0]}"' if named and named[0] != address else ""

    def _conflict(self, request: Request, address: str) -> str:
        for uid, key in self._blocked.get(address, ()):
            if uid != request.uid:
                return f'"{address}" is in use by "{key}"'
        users = self._users.get(address)
        if users is not None and (user := users.find_conflicting(request)):
            return f'"{address}" is in use by "{user.key}"{_sharing_problem(request, user)}'
        return ""

    def _pool_name(self, address: str) -> str:
        return next((pool.name for pool in self._pools if pool.contains(address)), "")


def _sharing_problem(request: Request, user: Request) -> str:
    """Why two Services may not have one address, as the end of a sentence; empty if they may (MetalLB's rules)."""
    if not request.sharing_key or request.sharing_key != user.sharing_key:
        return ", whose sharing key differs" if request.sharing_key or user.sharing_key else "."
    if clash := sorted(request.ports & user.ports):
        protocol, port = clash[0]
        return f", which has port {port}/{protocol} already"
    if request.backend != user.backend:
        return ", whose externalTrafficPolicy or selector does not go with it"
    return ""


def _listed(pools: Sequence[Pool]) -> str:
    return ("pool " if len(pools) == 1 else "pools ") + ", ".join(f'"{pool.name}"' for pool in pools)


def _family(address: str) -> int:
    return 6 if ":" in address else 4
