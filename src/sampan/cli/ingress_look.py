"""`sampan ingress test`, `sampan ingress migrate` and `sampan explain ingress`: what Ingresses do, and why."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from sampan.cli.clusters import add_name, running
from sampan.cli.errors import CommandError
from sampan.client.config import Config, ConfigError
from sampan.client.rest import Client
from sampan.ingress import migrate, walk
from sampan.ingress.flags import FlagError
from sampan.ingress.gather import Gathered, gather
from sampan.ingress.gather import running as running_controllers
from sampan.ingress.migrate import Controller
from sampan.ingress.report import Report
from sampan.machinery.errors import StatusError


def run_test(words: list[str]) -> int:
    """Exit status 1 if the request would not be served as asked."""
    parser = _parser("test", "Print what a request would meet, step by step; nothing is sent.")
    parser.add_argument("url", metavar="URL", help="http:// or https://, with the host that clients use")
    parser.add_argument("-X", "--method", default="GET")
    parser.add_argument("-H", "--header", action="append", default=[], metavar="NAME: VALUE", help="repeatable")
    parser.add_argument("--client", default="", metavar="ADDRESS", help="the client's address, for lists of addresses")
    options = parser.parse_args(words)
    headers = dict(_header(one) for one in options.header)
    cookies = _cookies(headers.pop("cookie", ""))

    def walked(found: Gathered, _: Controller | None) -> Report:
        try:
            return walk.request(found.translation, options.url, options.method, headers, cookies, options.client)
        except walk.NotAURL as error:
            raise CommandError(str(error), status=2) from error

    return _look(options, walked)


def run_migrate(words: list[str]) -> int:
    """Exit status 1 if anything will differ."""
    options = _parser("migrate", "Read a running ingress-nginx's objects, and say what will differ here.").parse_args(
        words
    )

    def compared(found: Gathered, controller: Controller | None) -> Report:
        if controller is None:
            raise CommandError("no Deployment or DaemonSet runs ingress-nginx here")
        return migrate.report(controller, found.objects, found.data, found.options, found.idle)

    return _look(options, compared)


def explain(options: argparse.Namespace) -> int:
    """What has become of one Ingress; exit status 1 if something is wrong."""

    def explained(found: Gathered, _: Controller | None) -> Report:
        return walk.ingress(found.translation, found.objects, found.options, options.namespace, options.service)

    return _look(options, explained)


def _parser(action: str, text: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"sampan ingress {action}", description=text)
    add_name(parser)
    parser.add_argument("--kubeconfig", type=Path, default=None, help="another cluster than one of Sampan's")
    parser.add_argument("--context", default=None, help="context of the kubeconfig (default: the current one)")
    parser.add_argument("--controller", default="", metavar="NAMESPACE/NAME", help="which, if several run")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    return parser


def _look(options: argparse.Namespace, report: Callable[[Gathered, Controller | None], Report]) -> int:
    kubeconfig = options.kubeconfig or running(options.name).kubeconfig
    try:
        found, controller = asyncio.run(
            _gather(Config.from_kubeconfig(kubeconfig, _given(options, "context")), options)
        )
    except (StatusError, ConfigError, FlagError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot ask the API server: {error}") from error
    told = report(found, controller)
    if _given(options, "output") == "json":
        print(json.dumps(told.data(), indent=2, ensure_ascii=False))
    else:
        print("\n".join(told.lines()))
    return 0 if told.is_fine else 1


async def _gather(config: Config, options: argparse.Namespace) -> tuple[Gathered, Controller | None]:
    client = Client(config)
    try:
        chosen = _chosen(await running_controllers(client), _given(options, "controller"))
        return await gather(client, chosen), chosen
    finally:
        await client.close()


def _chosen(found: list[Controller], wanted: str) -> Controller | None:
    by_name = {f"{one.source.namespace}/{one.source.name}": one for one in found}
    if wanted and wanted not in by_name:
        raise CommandError(f"no controller {wanted}; there are: {', '.join(by_name) or 'none'}")
    if len(found) > 1 and not wanted:
        raise CommandError(f"several controllers run; choose one with --controller: {', '.join(by_name)}")
    return by_name[wanted] if wanted else found[0] if found else None


def _given(options: argparse.Namespace, name: str) -> str:
    return str(getattr(options, name, "") or "")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise CommandError(f"--header {text!r}: expected 'NAME: VALUE'", status=2)
    return name.strip().lower(), value.strip()


def _cookies(text: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in text.split(";") if "=" in part)
    return {name: value for name, _, value in pairs}
