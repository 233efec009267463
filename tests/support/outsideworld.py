"""A name server for a machine that has none: knows names below outside.example, and writes down what it is asked.

python -m support.outsideworld ADDRESS FILE
"""

import asyncio
import contextlib
import sys
from pathlib import Path

import dns.message
import dns.rcode

from support.resolvers import Resolver, address, response

KNOWN = "outside.example."
ANSWER = "192.0.2.7"


async def serve(host: str, asked: Path) -> None:
    def behave(query: dns.message.Message) -> list[bytes]:
        name = query.question[0].name.to_text()
        with asked.open("a") as file:
            file.write(f"{name}\n")
        return address(query, data=ANSWER) if name.endswith(KNOWN) else [response(query, rcode=dns.rcode.NXDOMAIN)]

    async with contextlib.AsyncExitStack() as stack:
        await Resolver(behave).start(stack, host, 53)
        asked.touch()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
