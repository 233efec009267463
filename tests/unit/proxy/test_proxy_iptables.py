"""The iptables mode without a kernel: upstream's names and words; partial input leads where a whole one does."""

import re

import pytest
from hypothesis import given

from sampan.api.core_v1 import ServicePort
from sampan.api.meta_v1 import ObjectMeta
from sampan.proxy.backends.iptables import names
from sampan.proxy.backends.iptables.plan import Saved, joined, partial, removal, repair, text
from sampan.proxy.backends.iptables.render import Fixed, Rendered, shared_lines
from sampan.proxy.backends.iptables.rules import LocalDetector, PortRules, port_rules
from sampan.proxy.endpoints import NodeTopology
from sampan.proxy.state import Endpoint, ServicePortName, State, service_ports
from support.proxyobjects import EVENTS, Event, endpoint, feed, service, slice_, tracker

LOCAL_DETECTOR = LocalDetector(("10.244.0.0/16",), node_ips=("10.2.2.10",))
FIXED = Fixed()
LIMIT = 2
"""Chains in one input: few, so that a small test has many inputs."""
MYBLOG = ServicePortName("jds", "myblog", "")


class Twin:
    """iptables' tables in memory, with iptables-restore's rules: one may only jump to, and delete, what is there."""

    BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, list[str]]] = {
            table: {chain: [] for chain in self.BUILT_IN} for table in ("filter", "nat")
        }

    def restore(self, text: str) -> None:
        table: dict[str, list[str]] = {}
        for line in text.splitlines():
            if line.startswith("*"):
                table = self.tables[line[1:]]
            elif line.startswith(":"):
                table[line[1:].split()[0]] = []
            elif line == "COMMIT":
                self._check(table)
            else:
                self._obey(table, *line.split(" ", 2))

    def _obey(self, table: dict[str, list[str]], verb: str, chain: str, rule: str = "") -> None:
        if verb == "-A":
            table[chain].append(rule)
        elif verb == "-I":
            table[chain].insert(0, rule)
        elif verb == "-D":
            table[chain].remove(rule)
        elif verb == "-X":
            assert not table.pop(chain), f"{chain} is not empty"
        else:
            raise AssertionError(verb)

    @staticmethod
    def _check(table: dict[str, list[str]]) -> None:
        for rules in table.values():
            for rule in rules:
                target = re.search(r"-j (KUBE-\S+)", rule)
                assert target is None or target[1] in table, rule

    def save(self) -> dict[str, list[str]]:
        saved = {}
        for name, chains in self.tables.items():
            declared = [f":{chain} - [0:0]" for chain in chains]
            saved[name] = declared + [f"-A {chain} {rule}" for chain, rules in chains.items() for rule in rules]
        return saved


def rendered(state: State) -> dict[ServicePortName, PortRules]:
    return {name: port_rules(name, port, LOCAL_DETECTOR) for name, port in state.ports.items()}


def fresh(of: Rendered) -> Twin:
    twin = Twin()
    repaired(twin, of)
    return twin


def repaired(twin: Twin, to: Rendered, limit: int = LIMIT) -> None:
    saved = {table: Saved.of(lines) for table, lines in twin.save().items()}
    for each in repair([to[name] for name in sorted(to)], FIXED, saved, limit):
        twin.restore(text(each))


def removed(twin: Twin) -> str:
    """Remove everything; what was given to iptables-restore."""
    saved = {table: Saved.of(lines) for table, lines in twin.save().items()}
    given = [text(each) for each in removal(saved, LIMIT)]
    for each in given:
        twin.restore(each)
    return "".join(given)


def test_hashes_are_those_that_documentation_prints() -> None:
    """The names of a Service `jds/myblog` and its endpoint, as a well-known introduction to Services shows them."""
    assert names.service_chain(MYBLOG) == "KUBE-SVC-HNPXLKIY6BVOTTG2"
    assert names.endpoint_chain(MYBLOG, Endpoint("10.244.1.24", 8002)) == "KUBE-SEP-BZEPM6POXQ5UAW4H"
    assert names.endpoint_chain(MYBLOG, Endpoint("10.244.2.24", 8002)) == "KUBE-SEP-QW7BLDR25O3SIRT4"


def test_rules_are_those_that_documentation_prints() -> None:
    """Masquerading of outsiders, half of the connections to each endpoint, hairpin and DNAT, line by line."""
    spec = service("myblog", cluster_ip="10.96.136.128", ports=(ServicePort(port=80),))
    spec = type(spec)(metadata=ObjectMeta(name="myblog", namespace="jds"), spec=spec.spec)
    topology = NodeTopology("node-1")
    both = slice_(endpoint("10.244.1.24"), endpoint("10.244.2.24"), port=8002, port_name=None)
    made = port_rules(MYBLOG, service_ports(spec, (both,), 4, topology)[MYBLOG], LOCAL_DETECTOR)
    match = '-d 10.96.136.128/32 -p tcp -m comment --comment "jds/myblog: cluster IP" -m tcp --dport 80'
    assert made.services == [
        f"-A KUBE-SERVICES ! -s 10.244.0.0/16 {match} -j KUBE-MARK-MASQ",
        f"-A KUBE-SERVICES {match} -j KUBE-SVC-HNPXLKIY6BVOTTG2",
    ]
    half = "-m statistic --mode random --probability 0.50000000000"
    assert made.chains == {
        "KUBE-SVC-HNPXLKIY6BVOTTG2": [
            f"-A KUBE-SVC-HNPXLKIY6BVOTTG2 {half} -j KUBE-SEP-BZEPM6POXQ5UAW4H",
            "-A KUBE-SVC-HNPXLKIY6BVOTTG2 -j KUBE-SEP-QW7BLDR25O3SIRT4",
        ],
        "KUBE-SEP-BZEPM6POXQ5UAW4H": [
            "-A KUBE-SEP-BZEPM6POXQ5UAW4H -s 10.244.1.24/32 -j KUBE-MARK-MASQ",
            "-A KUBE-SEP-BZEPM6POXQ5UAW4H -p tcp -m tcp -j DNAT --to-destination 10.244.1.24:8002",
        ],
        "KUBE-SEP-QW7BLDR25O3SIRT4": [
            "-A KUBE-SEP-QW7BLDR25O3SIRT4 -s 10.244.2.24/32 -j KUBE-MARK-MASQ",
            "-A KUBE-SEP-QW7BLDR25O3SIRT4 -p tcp -m tcp -j DNAT --to-destination 10.244.2.24:8002",
        ],
    }


@pytest.mark.parametrize(("count", "chances"), [(1, []), (2, [0.5]), (3, [1 / 3, 0.5]), (4, [0.25, 1 / 3, 0.5])])
def test_each_endpoint_gets_its_share_of_what_is_left(count: int, chances: list[float]) -> None:
    tracking = tracker()
    tracking.service_changed(None, service())
    tracking.slice_changed(None, slice_(*(endpoint(f"10.244.0.{number}") for number in range(count))))
    (made,) = rendered(tracking.take()[4].state).values()
    rules = next(rules for chain, rules in made.chains.items() if chain.startswith("KUBE-SVC-"))
    found = [float(match[1]) for rule in rules if (match := re.search(r"--probability (\S+)", rule))]
    assert found == pytest.approx(chances)


@given(EVENTS)
def test_partial_input_leads_where_a_whole_one_does(events: list[Event]) -> None:
    """After any events, one change at a time, both tables equal those of a fresh start, and nothing jumps nowhere."""
    tracking, known = tracker(), {}
    twin, current = fresh({}), dict[ServicePortName, PortRules]()
    shared = shared_lines((), FIXED)
    for event in events:
        feed(tracking, known, event)
        changes = tracking.take()[4].changes
        changed = []
        for name, (_, after) in changes.items():
            made = port_rules(name, after, LOCAL_DETECTOR) if after else None
            changed.append((current.pop(name, None), made))
            if made:
                current[name] = made
        before, shared = shared, shared_lines((current[name] for name in sorted(current)), FIXED)
        twin.restore(text(partial(changed, before, shared)))
    assert twin.tables == fresh(rendered(tracking.take()[4].state)).tables


@given(EVENTS, EVENTS)
def test_a_restart_repairs_whatever_it_finds(left: list[Event], events: list[Event]) -> None:
    """The rules of other Services, or none, end as those of a fresh start; the jumps stand once; a second time, too."""
    states = []
    for each in (left, events):
        tracking, known = tracker(), {}
        for event in each:
            feed(tracking, known, event)
        states.append(rendered(tracking.take()[4].state))
    twin, wanted = fresh(states[0]), fresh(states[1]).tables
    for _ in range(2):
        repaired(twin, states[1])
        assert twin.tables == wanted


@given(EVENTS)
def test_removal_leaves_what_is_not_ours(events: list[Event]) -> None:
    tracking, known = tracker(), {}
    for event in events:
        feed(tracking, known, event)
    twin = Twin()
    twin.restore("*nat\n:DOCKER - [0:0]\n-A PREROUTING -j DOCKER\nCOMMIT\n")
    foreign = {table: {chain: list(rules) for chain, rules in chains.items()} for table, chains in twin.tables.items()}
    repaired(twin, rendered(tracking.take()[4].state))
    removed(twin)
    assert twin.tables == foreign
    assert removed(twin) == ""


@given(EVENTS)
def test_what_stands_as_it_should_is_left_alone(events: list[Event]) -> None:
    """A restart over its own rules gives iptables-restore nothing to do; all at once leads where many inputs do."""
    tracking, known = tracker(), {}
    for event in events:
        feed(tracking, known, event)
    wanted = rendered(tracking.take()[4].state)
    twin = fresh(wanted)
    saved = {table: Saved.of(lines) for table, lines in twin.save().items()}
    ordered = [wanted[name] for name in sorted(wanted)]
    assert not any(map(text, repair(ordered, FIXED, saved, LIMIT)))
    at_once, empty = Twin(), {table: Saved.of(lines) for table, lines in Twin().save().items()}
    at_once.restore(text(joined(repair(ordered, FIXED, empty, 10_000))))
    assert at_once.tables == twin.tables
