"""The README's session does what it says: its commands are run, in order, as a reader would type them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"


def sessions(path: Path) -> list[list[str]]:
    """The commands of each `console` block."""
    blocks = re.findall(r"^```console\n(.*?)^```", path.read_text(), re.M | re.S)
    return [re.findall(r"^\$ (.+)$", block, re.M) for block in blocks]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")


def test_the_session_in_the_readme_works(environment: None):
    [commands] = sessions(README)
    outputs = {}
    try:
        for command in commands:
            done = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
            outputs[command] = done.stdout
    finally:
        subprocess.run(["sampan", "down"], capture_output=True, timeout=60, check=False)
    [curl] = [output for command, output in outputs.items() if "curl" in command]
    assert "Directory listing" in curl


def test_every_command_has_its_line_in_the_readme():
    from sampan.cli.main import COMMANDS

    table = re.findall(r"^\| (.+?) \|", README.read_text(), re.M)
    described = set(re.findall(r"`(?:sampan )?([a-z-]+)`", " ".join(table)))
    assert set(COMMANDS) <= described
