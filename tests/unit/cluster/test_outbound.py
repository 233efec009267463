"""The way out: how the stack is called, and what is never routed to it."""

from ipaddress import IPv4Network

from sampan.cluster import lan, outbound
from sampan.cluster.components import table
from sampan.cluster.config import build


def test_the_stack_is_sandboxed_and_reaches_the_loopback_only_if_that_is_allowed() -> None:
    closed = outbound.command(build({}), "/usr/bin/slirp4netns")
    assert {"--enable-sandbox", "--enable-seccomp", "--disable-dns", "--disable-host-loopback"} <= set(closed)
    allowed = outbound.command(build({"allowHostLoopback": True}), "/usr/bin/slirp4netns")
    assert set(closed) - set(allowed) == {"--disable-host-loopback"}


def test_an_isolated_cluster_has_no_such_component_and_others_are_up_without_it() -> None:
    assert outbound.NAME not in [component.name for component in table(build({"isolated": True}))]
    (component,) = [component for component in table(build({})) if component.name == outbound.NAME]
    assert component.optional
    assert component.after == ()


def test_what_would_speak_with_the_machines_authority_is_never_routed_out_unless_it_is_the_clusters_own() -> None:
    never = [IPv4Network(one) for one in lan._never_out(build({}))]
    for address in ("127.0.0.1", "0.0.0.0", "169.254.169.254", "100.100.100.200", "168.63.129.16", "255.255.255.255"):
        assert any(IPv4Network(address).subnet_of(one) for one in never), address
    own = lan._never_out(build({"network": {"services": "100.100.0.0/16"}}))
    assert "100.100.100.200/32" not in own


def test_status_tells_whether_there_is_a_way_out_and_why_not() -> None:
    assert outbound.describe("ready", "") == "slirp4netns"
    assert outbound.describe("done", "no way out to the machine's network: not installed") == "none: not installed"
    assert outbound.describe("restarting", "") == "restarting; see: sampan logs outbound"
