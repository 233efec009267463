"""`up` builds its configuration from a file and from flags, which take precedence."""

import argparse
from pathlib import Path

import pytest

from sampan.cli import up
from sampan.cli.errors import CommandError


def configuration(tmp_path: Path, text: str, *flags: str):
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    parser = argparse.ArgumentParser()
    up.arguments(parser)
    return up._configuration(parser.parse_args(["--config", str(file), *flags]))


def test_flags_take_precedence_over_the_file(tmp_path):
    assert configuration(tmp_path, "nodes: 2\nproxyMode: iptables\n", "--nodes", "1").nodes == 1


@pytest.mark.parametrize(
    ("text", "flags", "wanted"),
    [
        ("", [], False),
        ("", ["--node-local-dns"], True),
        ("dns: {nodeLocal: true}", [], True),
        ("dns: {nodeLocal: false}", ["--node-local-dns"], True),
    ],
)
def test_dns_on_each_node_is_chosen_by_the_file_or_the_flag(tmp_path, text, flags, wanted):
    assert configuration(tmp_path, text, *flags).dns.node_local is wanted


def test_a_file_that_says_nonsense_about_dns_is_refused_with_the_flag_too(tmp_path):
    with pytest.raises(CommandError, match=r"\$\.dns"):
        configuration(tmp_path, "dns: fast", "--node-local-dns")


@pytest.mark.parametrize(
    ("text", "flags", "wanted"),
    [
        ("", [], True),
        ("", ["--no-load-balancer"], False),
        ("loadBalancer: {enabled: false}", [], False),
        ("loadBalancer: {pools: [{addresses: [10.2.2.200]}]}", ["--no-lb"], False),
    ],
)
def test_load_balancers_are_switched_off_by_the_file_or_the_flag(tmp_path, text, flags, wanted):
    assert configuration(tmp_path, text, *flags).load_balancer.enabled is wanted
