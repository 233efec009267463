"""What the articles' readers do besides kubectl's plain verbs: read a table, edit in place."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from e2e_support import Cluster

WELCOME = "Welcome to nginx!"


def table(text: str) -> list[dict[str, str]]:
    """The rows of what `kubectl get` prints, by heading; an empty cell is the empty string, warnings are left out."""
    lines = [line for line in text.splitlines() if line and not line.startswith("Warning: ")]
    headings = list(re.finditer(r"\S+(?: \S+)*", lines[0]))
    ends = [heading.start() for heading in headings[1:]] + [None]
    return [
        {heading[0]: line[heading.start() : end].strip() for heading, end in zip(headings, ends, strict=True)}
        for line in lines[1:]
    ]


def described(text: str) -> dict[str, str]:
    """The plain lines of what `kubectl describe` prints: value by name."""
    return dict(re.findall(r"^(\S[^:\n]*):[ \t]*(.*?)[ \t]*$", text, re.M))


@contextmanager
def editor(monkeypatch: pytest.MonkeyPatch, expression: str) -> Iterator[None]:
    """Within this, `kubectl edit` makes the change that `sed` calls EXPRESSION."""
    with monkeypatch.context() as patched:
        patched.setenv("KUBE_EDITOR", f"sed -i {expression}")
        yield


@contextmanager
def proxy_mode(cluster: Cluster, mode: str, status: int = 0) -> Iterator[str]:
    """All nodes in another mode for a while; gives what the command said, which ends with `status`."""
    try:
        yield cluster.sampan(f"proxy-mode {mode}", status=status)
    finally:
        cluster.sampan("proxy-mode nftables")
