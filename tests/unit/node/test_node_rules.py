"""The node's own nftables rules: what is rendered, that it replaces what was there, and that nft accepts it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sampan.node import node_rules
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
        ]
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
