"""A mode that the machine lacks is replaced only where upstream does so, with the reason in words."""

from collections.abc import Callable
from typing import Any

import pytest

from sampan.client.config import Config
from sampan.proxy import fallback
from sampan.proxy.options import ProxyOptions


def modes(**why: str) -> dict[str, Callable[..., Any]]:
    """Backends that cannot run for the given reasons."""

    def factory(reason: str) -> Callable[..., Any]:
        backend = type("Unsupported", (), {"is_supported": lambda self: reason})
        return lambda options, family: backend()

    return {mode: factory(reason) for mode, reason in why.items()}


NO_IPVS = "the kernel has no IPVS (module ip_vs)"


@pytest.mark.parametrize(
    ("wanted", "machine", "chosen"),
    [
        ("ipvs", {"ipvs": "", "iptables": "", "nftables": ""}, "ipvs"),
        ("ipvs", {"ipvs": NO_IPVS, "iptables": "", "nftables": ""}, "iptables"),
        ("ipvs", {"ipvs": NO_IPVS, "iptables": "no iptables", "nftables": ""}, "nftables"),
        ("ipvs", {"ipvs": NO_IPVS, "iptables": "no iptables", "nftables": "no nft"}, "ipvs"),
        ("nftables", {"nftables": "no nft", "iptables": ""}, "nftables"),
        ("nonsense", {"nftables": "", "iptables": ""}, "nonsense"),
    ],
)
def test_ipvs_falls_back_and_nothing_else_does(
    wanted: str, machine: dict[str, str], chosen: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(fallback, "BACKENDS", modes(**machine))
    options = ProxyOptions(
        node_name="node-1", node_ips=("10.2.2.10",), config=Config(server="https://unused"), mode=wanted
    )
    outcome, message = fallback.runnable(options)
    assert outcome.mode == chosen
    if chosen == wanted:
        assert message == ""
    else:
        assert message == f"Can't use the ipvs proxier, using the {chosen} proxier: {NO_IPVS}"
