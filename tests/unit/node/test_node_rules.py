"""The node's own rules, for nft and for iptables: what is rendered, that it replaces what was there and is accepted."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sampan.node import node_rules, node_rules_iptables
from sampan.node.node_rules import HostPort

POD, OTHER = "10.244.0.5", "10.244.0.6"
TEXTS = {
    "masquerade": node_rules.masquerade("10.244.0.0/24", ("10.2.2.0/24", "10.244.0.0/16")),
    "masquerade_and_own": node_rules.masquerade("10.244.0.0/24", ("10.2.2.0/24",), ("169.254.20.10",)),
    "no_host_ports": node_rules.host_ports([]),
    "host_ports": node_rules.host_ports(
        [
            (HostPort(80, 8080), POD),
            (HostPort(53, 5353, "UDP"), POD),
            (HostPort(80, 8081, "TCP", "127.0.0.1"), OTHER),
            (HostPort(90, 9, "SCTP", "0.0.0.0"), OTHER),
        ],
        ("10.96.0.0/12",),
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_each_text_replaces_its_own_table_as_a_whole(name: str) -> None:
    create, delete, define, *_ = TEXTS[name].splitlines()
    table = create.removesuffix(" {}")
    assert (delete, define) == (f"delete {table}", f"{table} {{")


@pytest.mark.parametrize(
    ("port", "rule"),
    [
        (HostPort(80, 8080), "tcp dport 80 dnat ip to 10.244.0.5:8080"),
        (HostPort(53, 53, "UDP"), "udp dport 53 dnat ip to 10.244.0.5:53"),
        (HostPort(80, 80, "TCP", "0.0.0.0"), "tcp dport 80 dnat ip to 10.244.0.5:80"),
        (HostPort(80, 80, "TCP", "127.0.0.1"), "ip daddr 127.0.0.1 tcp dport 80 dnat ip to 10.244.0.5:80"),
    ],
)
def test_a_host_port_leads_to_its_pod(port: HostPort, rule: str) -> None:
    assert rule in [line.strip() for line in node_rules.host_ports([(port, POD)]).splitlines()]


def test_a_port_of_one_address_comes_before_the_same_port_of_all() -> None:
    every, one = HostPort(80, 80), HostPort(80, 81, "TCP", "127.0.0.1")
    text = node_rules.host_ports([(every, POD), (one, OTHER)])
    assert text.index("10.244.0.6:81") < text.index("10.244.0.5:80")


def test_a_pod_reaches_itself_through_its_host_port() -> None:
    assert "ip saddr 10.244.0.5 ip daddr 10.244.0.5 masquerade" in TEXTS["host_ports"]


def test_nobody_else_reaches_the_loopback_addresses_of_a_node() -> None:
    assert 'iifname != "lo" ip daddr 127.0.0.0/8 drop' in TEXTS["masquerade"]


@pytest.mark.kernel
@pytest.mark.parametrize("name", TEXTS)
def test_nft_accepts_what_is_rendered(name: str, tmp_path: Path) -> None:
    if not shutil.which("nft"):
        pytest.skip("needs nft")
    (tmp_path / "rules").write_text(TEXTS[name])
    line = ["unshare", "-n", "nft", "--check", "-f", str(tmp_path / "rules")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- for iptables

MAPPINGS = [(HostPort(80, 8080), POD), (HostPort(80, 8081, "TCP", "127.0.0.1"), OTHER), (HostPort(9, 9, "SCTP"), OTHER)]
FOR_IPTABLES = {
    "masquerade": node_rules_iptables.masquerade("10.244.0.0/24", ("10.2.2.0/24", "10.244.0.0/16"), ("169.254.20.10",)),
    "no_host_ports": node_rules_iptables.host_ports([]),
    "host_ports": node_rules_iptables.host_ports(MAPPINGS, ("10.96.0.0/12",)),
}
NOTHING: dict[str, list[str]] = {"nat": [], "raw": [], "filter": []}


def test_iptables_masquerades_what_leaves_the_cluster() -> None:
    lines = node_rules_iptables.text(FOR_IPTABLES["masquerade"], NOTHING).splitlines()
    assert [line for line in lines if line.startswith("-A SAMPAN-")] == [
        "-A SAMPAN-PODS -d 10.2.2.0/24 -j RETURN",
        "-A SAMPAN-PODS -d 10.244.0.0/16 -j RETURN",
        "-A SAMPAN-PODS -s 10.244.0.0/24 -j MASQUERADE",
        "-A SAMPAN-GUARD ! -i lo -d 127.0.0.0/8 -j DROP",
        "-A SAMPAN-OWN -d 169.254.20.10 -j REJECT --reject-with icmp-port-unreachable",
    ]


def test_iptables_leads_host_ports_to_pods_and_those_of_one_address_first() -> None:
    lines = node_rules_iptables.text(FOR_IPTABLES["host_ports"], NOTHING).splitlines()
    assert [line for line in lines if "-A SAMPAN-PORTS" in line] == [
        "-A SAMPAN-PORTS -d 10.96.0.0/12 -j RETURN",
        "-A SAMPAN-PORTS -d 127.0.0.1 -p tcp --dport 80 -j DNAT --to-destination 10.244.0.6:8081",
        "-A SAMPAN-PORTS -p sctp --dport 9 -j DNAT --to-destination 10.244.0.6:9",
        "-A SAMPAN-PORTS -p tcp --dport 80 -j DNAT --to-destination 10.244.0.5:8080",
    ]
    assert "-A SAMPAN-HAIRPIN -s 10.244.0.5 -d 10.244.0.5 -j MASQUERADE" in lines


@pytest.mark.parametrize("name", FOR_IPTABLES)
def test_jumps_that_are_there_are_not_added_again(name: str) -> None:
    rules = FOR_IPTABLES[name]
    first = node_rules_iptables.text(rules, NOTHING).splitlines()
    again = node_rules_iptables.text(rules, dict.fromkeys(NOTHING, first)).splitlines()
    jumps = [line for line in first if not line.startswith("-A SAMPAN-") and line.startswith("-A ")]
    assert jumps
    assert again == [line for line in first if line not in jumps]


@pytest.mark.kernel
@pytest.mark.parametrize("name", FOR_IPTABLES)
def test_iptables_accepts_what_is_rendered(name: str) -> None:
    if not shutil.which("iptables-restore"):
        pytest.skip("needs iptables")
    line = ["unshare", "-n", "iptables-restore", "--noflush", "--test"]
    text = node_rules_iptables.text(FOR_IPTABLES[name], NOTHING)
    done = subprocess.run(line, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
