"""A LAN of throw-away nodes, each with a speaker process, and a neighbour that asks who answers for an address.

bridge node0, the neighbour and the API server (10.2.2.1, fd00::1) ── veth ── a namespace for each node
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sampan.client.resources import ENDPOINT_SLICES, NODES, SERVICES
from sampan.client.rest import Client
from sampan.kernel import arp, ndp, netns
from sampan.kernel.packet import PacketSocket
from support.apiserver import running_apiserver, write_kubeconfig

NEIGHBOUR, NEIGHBOUR6 = "10.2.2.1", "fd00::1"
NEIGHBOUR_MAC = "02:00:00:00:00:01"
"""A fixed one: a bridge would else change its own with every port."""
POOLS = ("10.2.2.200-10.2.2.220", "fd00::200-fd00::220")
SAMPAN = str(Path(sys.executable).parent / "sampan")
LISTEN_SECONDS = 0.15


def sh(line: str) -> str:
    return subprocess.run(line.split(), check=True, capture_output=True, text=True).stdout


class Lan:
    """Nodes by name, their hardware addresses and their speakers."""

    def __init__(self, directory: Path, client: Client, kubeconfig: Path) -> None:
        self.client = client
        self._directory, self._kubeconfig = directory, kubeconfig
        self.macs: dict[str, str] = {}
        self.speakers: dict[str, subprocess.Popen[bytes]] = {}
        self.key = directory / "key"
        self.key.write_text("a secret of sixteen bytes or more")
        self._mac = bytes.fromhex(NEIGHBOUR_MAC.replace(":", ""))

    # --- nodes

    async def add_node(self, name: str) -> None:
        path = self._directory / name
        netns.create_network(path)
        sh(f"ip link add {name} type veth peer name eth0 netns {self._pin(path)}")
        sh(f"ip link set {name} master node0 up")
        number = 20 + len(self.macs)
        for line in (
            "ip link set lo up",
            "ip link set eth0 up",
            f"ip address add 10.2.2.{number}/24 dev eth0",
            f"ip address add fd00::{number}/64 dev eth0 nodad",
        ):
            self.inside(name, line)
        [self.macs[name]] = re.findall(r"link/ether (\S+)", self.inside(name, "ip link show eth0"))
        await self.client.create(NODES, {"metadata": {"name": name}, "spec": {}})
        status = {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": f"10.2.2.{number}"}],
        }
        await self.client.patch(NODES, name, {"status": status}, subresource="status")
        self.speak(name)

    def _pin(self, path: Path) -> str:
        """A name by which `ip` knows a namespace."""
        Path("/run/netns").mkdir(exist_ok=True)
        link = Path("/run/netns") / path.name
        link.symlink_to(path)
        return path.name

    def inside(self, name: str, line: str) -> str:
        return sh(f"nsenter --net={self._directory / name} {line}")

    def speak(self, name: str) -> None:
        """Start a node's speaker, as a user would."""
        command = ["nsenter", f"--net={self._directory / name}", SAMPAN, "loadbalancer", "--role", "speaker"]
        command += ["--kubeconfig", str(self._kubeconfig), "--node-name", name, "--key-file", str(self.key)]
        command += ["--node-health-url", ""]
        for pool in POOLS:
            command += ["--addresses", pool]
        log = (self._directory / f"{name}.log").open("ab")
        self.speakers[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def signal(self, name: str, number: signal.Signals) -> None:
        self.speakers[name].send_signal(number)
        if number == signal.SIGKILL:
            self.speakers[name].wait()

    def logs(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()}" for path in sorted(self._directory.glob("*.log")))

    # --- objects

    async def serve(self, name: str, *addresses: str, nodes: tuple[str, ...] = (), **spec: object) -> None:
        """A Service with these addresses in its status, and under the Local policy its endpoints' nodes."""
        spec = {"type": "LoadBalancer", "ports": [{"port": 80}], **spec}
        await self.client.create(SERVICES, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
        ingress = [{"ip": address, "ipMode": "VIP"} for address in addresses]
        status = {"status": {"loadBalancer": {"ingress": ingress}}}
        await self.client.patch(SERVICES, name, status, "default", subresource="status")
        if nodes:
            await self.endpoints(name, *nodes)

    async def endpoints(self, name: str, *nodes: str) -> None:
        body = {
            "metadata": {
                "name": name,
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"port": 80}],
            "endpoints": [
                {"addresses": [f"10.244.0.{index}"], "nodeName": node, "conditions": {"ready": True}}
                for index, node in enumerate(nodes, 1)
            ],
        }
        await self.client.call(
            "PATCH",
            f"{ENDPOINT_SLICES.path('default', name)}?fieldManager=test&force=true",
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", **body},
            content_type="application/apply-patch+yaml",
        )

    # --- the neighbour

    async def who_answers(self, address: str) -> list[str]:
        """The nodes whose answers a question brings, each as often as it answers."""
        kind = ndp.ETHERTYPE if ":" in address else arp.ETHERTYPE
        with_socket = PacketSocket("node0", kind)
        try:
            with_socket.send(self._question(address))
            await asyncio.sleep(LISTEN_SECONDS)
            frames = list(iter(with_socket.receive, None))
        finally:
            with_socket.close()
        answers = [frame for frame in frames if _is_answer(frame, address)]
        names = {mac: name for name, mac in self.macs.items()}
        return [names[frame[6:12].hex(":")] for frame in answers]

    def _question(self, address: str) -> bytes:
        if ":" in address:
            return ndp.solicitation(NEIGHBOUR6, address, self._mac)
        asked, _ = arp.announcements(address, self._mac)
        sender = bytes(map(int, NEIGHBOUR.split(".")))
        return asked[:28] + sender + asked[32:]

    async def owner(self, address: str, *others: str) -> str:
        """The node that answers alone, as soon as it is one (of these, if any are given)."""
        deadline = time.monotonic() + 20
        while True:
            found = await self.who_answers(address)
            if len(found) == 1 and (not others or found[0] in others):
                return found[0]
            assert time.monotonic() < deadline, f"{address}: answers of {found}\n{self.logs()}"

    async def nobody(self, address: str) -> None:
        deadline = time.monotonic() + 20
        while await self.who_answers(address):
            assert time.monotonic() < deadline, f"{address} is still answered for\n{self.logs()}"


def _is_answer(frame: bytes, address: str) -> bool:
    """Whether a frame answers the neighbour: announcements go to everybody."""
    if frame[0] & 1:
        return False
    if ":" in address:
        return frame[54] == ndp.ADVERTISEMENT
    return frame[20:22] == b"\x00\x02" and ".".join(map(str, frame[28:32])) == address


@asynccontextmanager
async def lan(directory: Path, *names: str) -> AsyncIterator[Lan]:
    for line in (
        f"ip link set node0 address {NEIGHBOUR_MAC}",
        f"ip address add {NEIGHBOUR}/24 dev node0",
        f"ip address add {NEIGHBOUR6}/64 dev node0 nodad",
    ):
        sh(line)
    async with running_apiserver(host=NEIGHBOUR) as config:
        client = Client(config)
        made = Lan(directory, client, write_kubeconfig(config, directory / "kubeconfig"))
        try:
            for name in names:
                await made.add_node(name)
            yield made
        finally:
            for process in made.speakers.values():
                process.kill()
                process.wait()
            await client.close()
            for name in names:
                os.unlink(f"/run/netns/{name}")
