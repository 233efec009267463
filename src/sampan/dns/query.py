"""`sampan dns query`, the asking part: goes the way of a name (`walk`), and tells each step."""

import asyncio
import secrets
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sampan.dns import decode, walk, wire
from sampan.dns.upstream import Upstream
from sampan.dns.walk import Resolver, Step
from sampan.dns.wire import Reply, encode_name

SECONDS = 2.0
_EDNS_SIZE = 1232


@dataclass(frozen=True, slots=True)
class Answered:
    """What one step brought: which server answered, and what; without a reply, nobody did."""

    step: Step
    server: str
    reply: Reply | None
    problem: str = ""


async def ask(name: str, kind: int, resolver: Resolver, port: int = 53) -> AsyncIterator[Answered]:
    """All steps up to the one that finds something."""
    for step in walk.steps(name, resolver):
        answered = await _ask_all(step, kind, resolver, port)
        yield answered
        if walk.verdict(answered.reply, kind)[0]:
            return


async def _ask_all(step: Step, kind: int, resolver: Resolver, port: int) -> Answered:
    """One question to each server in turn, until one answers."""
    problem = ""
    for server in resolver.servers:
        upstream = Upstream((server, port), expire=0, check_every=0, check=b"")
        try:
            async with asyncio.timeout(SECONDS):
                return Answered(step, server, await _ask_one(upstream, step.name, kind))
        except TimeoutError:
            problem = f"{server}: no answer within {SECONDS:g} s"
        except OSError as error:
            problem = f"{server} cannot be asked: {error.strerror or error}"
        except decode.Unreadable as error:
            problem = f"{server}: {error}"
        except ValueError:
            problem = "not asked for: with this entry of the search path the name is too long"
        finally:
            await upstream.close()
    return Answered(step, resolver.servers[-1], None, problem)


async def _ask_one(upstream: Upstream, name: str, kind: int) -> Reply:
    """Over UDP, and if that was cut off over TCP. Raises OSError, Unreadable."""
    question = encode_name(name.rstrip(".")) + struct.pack("!2H", kind, wire.IN)
    header = secrets.token_bytes(2) + struct.pack("!5H", wire.RECURSION_DESIRED, 1, 0, 0, 1)
    packet = header + question + struct.pack("!BHHIH", 0, wire.OPT, _EDNS_SIZE, 0, 0)
    reply, cut = decode.parse_answer(await upstream.ask(packet, tcp=False))
    if cut:
        reply, _ = decode.parse_answer(await upstream.ask(packet, tcp=True))
    return reply


def lines(answered: Answered, kind: int) -> list[str]:
    """One step for a terminal: what was asked and why, what was answered, and what that means."""
    wanted = wire.TYPE_NAMES.get(kind, f"TYPE{kind}")
    told = [f"{answered.step.name} {wanted}   ({answered.step.why})"]
    if answered.reply is None:
        return [*told, f"    {answered.problem}"]
    _, meaning = walk.verdict(answered.reply, kind)
    source = "the cluster's own" if answered.reply.authoritative else "from elsewhere"
    told.append(f"    {answered.server} says {meaning} ({source})")
    return [*told, *(f"    {text}" for text in walk.shown(answered.reply.answers))]
