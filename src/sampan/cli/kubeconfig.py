"""`sampan kubeconfig`: a kubeconfig for this cluster alone, on standard output."""

from __future__ import annotations

import argparse
import sys

from sampan.cli.clusters import add_name, existing


def arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)


def run(options: argparse.Namespace) -> int:
    sys.stdout.write(existing(options.name).kubeconfig.read_text())
    return 0
