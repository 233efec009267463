"""Which endpoint a request goes to: turns, hashes, cookies, latency, canaries. Their changes need no reload."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sampan.ingress.model import (
    Backend,
    Canary,
    Configuration,
    CookieAffinity,
    Endpoint,
    Host,
    LoadBalancing,
    Source,
    Variable,
)
from support.nginxworld import Answer, Echo, NginxWorld, backend, free_port

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def world() -> Iterator[NginxWorld]:
    with NginxWorld() as one:
        yield one


@pytest.fixture(scope="module")
def echoes(world: NginxWorld) -> list[Echo]:
    return [world.echo() for _ in range(6)]


def serve(world: NginxWorld, *backends: Backend, canaries: tuple[Canary, ...] = ()) -> None:
    route = replace(world.route("/", backends[0]), canaries=canaries)
    applied = world.apply(world.configuration([Host("a.example", (route,))], list(backends)))
    assert applied.rejected == ()


def ports(world: NginxWorld, count: int, headers: dict[str, str] | None = None, path: str = "/") -> Counter[int]:
    return Counter(world.ask(path, headers=headers).seen["port"] for _ in range(count))


def test_endpoints_take_turns(world: NginxWorld, echoes: list[Echo]) -> None:
    """Each of two workers goes round: the shares differ by one per worker at most."""
    serve(world, backend("web", *echoes[:3]))
    shares = ports(world, 30)
    assert set(shares) == {echo.server_port for echo in echoes[:3]}
    assert max(shares.values()) - min(shares.values()) <= 2


def test_a_hash_sends_a_key_to_one_endpoint(world: NginxWorld, echoes: list[Echo]) -> None:
    """Keys spread over all endpoints; when one goes, only its keys move."""
    balancing = LoadBalancing(hash_by=("x", Variable("http_x_key")))
    serve(world, backend("web", *echoes, balancing=balancing))

    def owners() -> dict[str, int]:
        found = {}
        for key in map(str, range(40)):
            (found[key],) = ports(world, 2, {"X-Key": key})
        return found

    before = owners()
    assert len(set(before.values())) >= 5
    serve(world, backend("web", *echoes[1:], balancing=balancing))
    after = owners()
    gone = echoes[0].server_port
    assert {key for key in before if before[key] != after[key]} == {key for key in before if before[key] == gone}


def test_a_hash_by_subset(world: NginxWorld, echoes: list[Echo]) -> None:
    balancing = LoadBalancing(hash_by=(Variable("http_x_key"),), subset_size=2)
    serve(world, backend("web", *echoes, balancing=balancing))
    assert len(ports(world, 30, {"X-Key": "one"})) == 2


def test_latency_decides(world: NginxWorld, echoes: list[Echo]) -> None:
    """A slow endpoint gets clearly fewer requests than a fast one."""
    slow, fast = echoes[:2]
    slow.delay = 0.05
    serve(world, backend("web", slow, fast, balancing=LoadBalancing("ewma")))
    shares = ports(world, 40)
    slow.delay = 0.0
    assert shares[fast.server_port] > 2 * shares[slow.server_port]


# --- affinity


def sticky(mode: Any = "balanced", **more: Any) -> LoadBalancing:
    return LoadBalancing(affinity=CookieAffinity("route", mode, **more))


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize("mode", ["balanced", "persistent"])
def test_a_cookie_keeps_a_client_at_its_endpoint(world: NginxWorld, echoes: list[Echo], mode: str) -> None:
    """The first answer sets it; later ones do not; clients spread."""
    serve(world, backend("web", *echoes, balancing=sticky(mode)))
    seen = set()
    for _ in range(12):
        first = world.ask("/")
        seen.add(first.seen["port"])
        again = [world.ask("/", headers={"Cookie": cookie_of(first)}) for _ in range(4)]
        assert {answer.seen["port"] for answer in again} == {first.seen["port"]}
        assert all("set-cookie" not in answer.headers for answer in again)
    assert len(seen) > 2


def test_a_persistent_cookie_outlives_other_endpoints(world: NginxWorld, echoes: list[Echo]) -> None:
    serve(world, backend("web", *echoes[:3], balancing=sticky("persistent")))
    first = world.ask("/")
    own = next(echo for echo in echoes if echo.server_port == first.seen["port"])
    serve(world, backend("web", own, *echoes[3:], balancing=sticky("persistent")))
    assert ports(world, 6, {"Cookie": cookie_of(first)}) == {own.server_port: 6}
    serve(world, backend("web", *(echo for echo in echoes if echo is not own), balancing=sticky("persistent")))
    moved = world.ask("/", headers={"Cookie": cookie_of(first)})
    assert moved.status == 200
    assert cookie_of(moved) != cookie_of(first)


def test_attributes_of_the_cookie(world: NginxWorld, echoes: list[Echo]) -> None:
    balancing = sticky(path="/in", domain="example", secure=True, same_site="Strict", max_age=60, expires=60)
    serve(world, backend("web", *echoes, balancing=balancing))
    attributes = world.ask("/").headers["set-cookie"].split("; ")
    assert {"Path=/in", "Domain=example", "Secure", "SameSite=Strict", "Max-Age=60", "HttpOnly"} <= set(attributes)
    assert any(text.startswith("Expires=") for text in attributes)
    serve(world, backend("web", *echoes, balancing=sticky(same_site="None", conditional_same_site_none=True)))
    plain = world.ask("/").headers["set-cookie"]
    assert "SameSite=None" in plain
    assert "Secure" not in plain
    assert "Secure" in world.ask("/", tls=True).headers["set-cookie"]
    old = {"User-Agent": "Mozilla/5.0 (X11) Chrome/55.0.2883"}
    assert "SameSite" not in world.ask("/", headers=old).headers["set-cookie"]


@pytest.mark.parametrize(("change", "mode"), [(False, "balanced"), (True, "balanced"), (True, "persistent")])
def test_a_failed_endpoint_changes_the_cookie_where_asked(world: NginxWorld, change: bool, mode: str) -> None:
    """The request itself goes to another endpoint in any case."""
    one, other = world.echo(), world.echo()
    one.answer_headers = other.answer_headers = [("Connection", "close")]  # so that its end is seen by the next request
    serve(world, backend("web", one, other, balancing=sticky(mode, change_on_failure=change)))
    first = world.ask("/")
    mine, rest = (one, other) if first.seen["port"] == one.server_port else (other, one)
    mine.end()
    answer = world.ask("/", headers={"Cookie": cookie_of(first)})
    assert answer.seen["port"] == rest.server_port
    assert ("set-cookie" in answer.headers) is change
    if change:
        assert world.ask("/", headers={"Cookie": cookie_of(answer)}).seen["port"] == rest.server_port


# --- canaries


def canary(to: Backend, **rules: Any) -> Canary:
    return Canary(to.name, Source("default", "canary"), **rules)


@pytest.mark.parametrize(
    ("rules", "headers", "to_canary"),
    [
        ({"header": "X-Canary"}, {"X-Canary": "always"}, True),
        ({"header": "X-Canary", "weight": 100}, {"X-Canary": "never"}, False),
        ({"header": "X-Canary"}, {"X-Canary": "other"}, False),
        ({"header": "X-Canary", "header_value": "yes"}, {"X-Canary": "yes"}, True),
        ({"header": "X-Canary", "header_value": "yes"}, {"X-Canary": "always"}, False),
        ({"header": "X-Canary", "header_pattern": "^v[0-9]$"}, {"X-Canary": "v7"}, True),
        ({"header": "X-Canary", "header_pattern": "^v[0-9]$"}, {"X-Canary": "v77"}, False),
        ({"header": "X-Canary", "header_pattern": "(("}, {"X-Canary": "v7"}, False),
        ({"cookie": "beta"}, {"Cookie": "beta=always"}, True),
        ({"cookie": "beta", "weight": 100}, {"Cookie": "beta=never"}, False),
        ({"header": "X-Canary", "cookie": "beta"}, {"X-Canary": "never", "Cookie": "beta=always"}, False),
        ({"weight": 100}, {}, True),
        ({"weight": 0}, {}, False),
        ({"weight": 5, "weight_total": 5}, {}, True),
    ],
)
def test_who_goes_to_a_canary(
    world: NginxWorld, echoes: list[Echo], rules: dict[str, Any], headers: dict[str, str], to_canary: bool
) -> None:
    main, new = backend("web", echoes[0]), backend("new", echoes[1])
    serve(world, main, new, canaries=(canary(new, **rules),))
    assert ports(world, 4, headers) == {echoes[1 if to_canary else 0].server_port: 4}


def test_canaries_by_weight_share_the_requests(world: NginxWorld, echoes: list[Echo]) -> None:
    main, new, newer = (backend(name, echo) for name, echo in zip(("web", "new", "newer"), echoes, strict=False))
    serve(world, main, new, newer, canaries=(canary(new, weight=25), canary(newer, weight=50)))
    shares = ports(world, 200)
    assert 20 < shares[echoes[1].server_port] < 90
    assert 60 < shares[echoes[2].server_port] < 140
    assert shares[echoes[0].server_port] > 15


def test_canaries_come_change_and_go_without_a_reload(world: NginxWorld, echoes: list[Echo]) -> None:
    main, new = backend("web", echoes[0]), backend("new", echoes[1])

    def configuration(*canaries: Canary) -> Configuration:
        route = replace(world.route("/", main), canaries=canaries)
        return world.configuration([Host("a.example", (route,))], [main, new])

    world.apply(configuration())
    for canaries, expected in (((canary(new, weight=100),), 1), ((canary(new, weight=0),), 0), ((), 0)):
        assert world.apply(configuration(*canaries)).reloaded is False
        assert ports(world, 3) == {echoes[expected].server_port: 3}


def test_a_client_stays_with_its_canary(world: NginxWorld, echoes: list[Echo]) -> None:
    """A cookie of a canary leads there whatever the weight says now; `legacy` lets the weight decide."""
    main = backend("web", *echoes[:2], balancing=sticky())
    new = backend("new", *echoes[2:4], balancing=sticky())
    serve(world, main, new, canaries=(canary(new, weight=100),))
    first = world.ask("/")
    serve(world, main, new, canaries=(canary(new, weight=0),))
    assert ports(world, 4, {"Cookie": cookie_of(first)}) == {first.seen["port"]: 4}
    legacy = replace(main, balancing=sticky(canary="legacy"))
    serve(world, legacy, new, canaries=(canary(new, weight=0),))
    assert set(ports(world, 4, {"Cookie": cookie_of(first)})) <= {echo.server_port for echo in echoes[:2]}


def test_a_canary_without_endpoints_gets_nothing(world: NginxWorld, echoes: list[Echo]) -> None:
    main, new = backend("web", echoes[0]), backend("new")
    serve(world, main, new, canaries=(canary(new, weight=100),))
    assert ports(world, 3) == {echoes[0].server_port: 3}


def test_all_endpoints_fail(world: NginxWorld) -> None:
    """502 after the tries, not an error of the balancer."""
    dead = [Endpoint("127.0.0.1", free_port()) for _ in range(2)]
    for balancing in (LoadBalancing(), sticky(), LoadBalancing("ewma"), LoadBalancing(hash_by=(Variable("uri"),))):
        serve(world, backend("web", *dead, balancing=balancing))
        assert world.ask("/").status == 502
