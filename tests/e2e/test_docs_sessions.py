"""The documents' sessions do what they say: their commands are run, in order, as a reader would type them.

A line that a document shows below a command must come in what the command prints; `…` stands for anything, and blanks
for blanks of any width. A `yaml` block becomes the file that the sentence before it ends with.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.machine import machine

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = {"docs/articles.md": "tutorial", "docs/reach.md": "reach"}
"""And the name of the cluster that each one makes."""
CHANGE_THE_NETWORK = ("docs/reach.md",)
"""These are typed on a throw-away machine with a network of its own."""


def files(text: str) -> dict[str, str]:
    return dict(re.findall(r"`(\S+\.yaml)`:\n\n```yaml\n(.*?)^```", text, re.M | re.S))


def steps(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of the `console` blocks, and the lines shown below it."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
        for command, shown in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, re.M):
            yield command, shown.splitlines()


def pattern(line: str) -> str:
    parts = [r"\s+".join(map(re.escape, part.split())) for part in line.split("…")]
    return r"[^\n]*".join(parts)


@pytest.fixture
def typing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.chdir(tmp_path)


@contextmanager
def place(document: str, directory: Path) -> Iterator[tuple[str, ...]]:
    """What a command must begin with."""
    if document not in CHANGE_THE_NETWORK:
        yield ()
        return
    (directory / "etc").mkdir()
    with machine(directory / "etc") as made:
        yield (*made.enter, "env", f"--chdir={directory}")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_session_shows_what_the_document_shows(document: str, typing: None, tmp_path: Path):
    text = (ROOT / document).read_text()
    for name, content in files(text).items():
        Path(name).write_text(content)

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=120, check=False)

    with place(document, tmp_path) as enter:
        try:
            for command, shown in steps(text):
                done = run("sh", "-c", command)
                output = done.stdout + done.stderr
                assert done.returncode == 0, f"$ {command}\n{output}"
                missing = [line for line in shown if not re.search(pattern(line), output)]
                assert not missing, f"$ {command}\n{output}"
        finally:
            run("sampan", "down", "--name", DOCUMENTS[document])
