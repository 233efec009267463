"""The proxy as a process of its own, for tests that kill it: `python -m support.proxyprocess OPTIONS-AS-JSON`."""

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from sampan.client.config import Config
from sampan.proxy.main import run
from sampan.proxy.options import ProxyOptions

TESTS = Path(__file__).parent.parent


class ProxyProcess:
    """One proxy, in the network namespace of whoever starts it."""

    def __init__(self, config: Config, mode: str, node_ips: tuple[str, ...]) -> None:
        told = {"config": asdict(config), "mode": mode, "node_name": "node-1", "node_ips": node_ips}
        self._command = [sys.executable, "-m", "support.proxyprocess", json.dumps(told)]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *, until_ready: bool = True) -> None:
        """Start; the rules stand when this returns, unless that is not waited for."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env={**os.environ, "PYTHONPATH": str(TESTS)}, stdout=asyncio.subprocess.PIPE
        )
        if until_ready and self._process.stdout is not None:
            said = await asyncio.wait_for(self._process.stdout.readline(), 30)
            assert said == b"ready\n", f"the proxy ended with status {await self._process.wait()}"

    async def kill(self) -> None:
        """End it wherever it is, as the kernel would for want of memory."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None


def main(told: str) -> None:
    given = json.loads(told)
    options = ProxyOptions(
        node_name=given["node_name"],
        node_ips=tuple(given["node_ips"]),
        config=Config(**given["config"]),
        mode=given["mode"],
    )
    asyncio.run(run(options, lambda: print("ready", flush=True)))


if __name__ == "__main__":
    main(sys.argv[1])
