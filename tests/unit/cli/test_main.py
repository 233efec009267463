"""The command line finds its commands, imports no more than it must, and turns errors into messages and statuses."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from sampan.cli import main as command_line
from sampan.cli.main import COMMANDS, main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMPAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return tmp_path / "home"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_arguments_and_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = import_module(f"sampan.cli.{COMMANDS[name][0]}")
    assert callable(module.arguments)
    assert callable(module.run)
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: sampan {name}" in capsys.readouterr().out


def test_every_module_with_arguments_is_a_command_or_part_of_one() -> None:
    directory = Path(command_line.__file__).parent
    commands = {path.stem for path in directory.glob("*.py") if "def arguments(" in path.read_text()}
    listed = {module for module, _ in COMMANDS.values()}
    parts = {module for module in commands - listed if module.partition("_")[0] in listed}
    assert commands - parts == listed


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_no_command(arguments: list[str]) -> None:
    code = f"import sys; from sampan.cli.main import main\ntry: main({arguments!r})\nexcept SystemExit: pass\n"
    code += "heavy = {'asyncio', 'ssl', 'yaml', 'msgspec', 'cryptography', 'sampan.cluster'} & set(sys.modules)\n"
    code += "assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_without_a_command_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "create a cluster" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stop"], "there is no cluster 'default'; create it with: sampan up"),
        (["start", "--name", "dev"], "there is no cluster 'dev'"),
        (["down"], "there is no cluster 'default'"),
        (["status", "--name", "dev"], "there is no cluster 'dev'"),
        (["shell"], "there is no cluster"),
        (["publish", "web"], "there is no cluster"),
        (["logs", "apiserver"], "there is no cluster"),
        (["kubeconfig"], "there is no cluster"),
        (["stop", "--name", "../etc"], "'../etc' is no name for a cluster"),
        (["up", "--name", "Dev"], "name: 'Dev'"),
        (["up", "--nodes", "0"], "flags: nodes: 0: must be from 1 to 200"),
        (["up", "--store", "tape"], "$.store`; choose from sqlite, memory"),
        (["up", "--proxy-mode", "x"], "$.proxyMode`; choose from nftables, iptables, ipvs, userspace"),
        (["up", "--kubernetes-version", "9.9"], 'release "9.9" is not available; choose one of 1.'),
        (["up", "--config", "/no/such/file"], "/no/such/file: No such file or directory"),
        (["image", "load", "/no/such/file"], "/no/such/file"),
        (["image", "rm", "nothing:1"], "no such image: nothing:1"),
        (["dns"], "not in a cluster"),
        (["dns", "--kubeconfig", "/no/such/file"], "/no/such/file: No such file or directory"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_made(
    arguments: list[str], message: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("sampan: ")
    assert not (home / "clusters").exists()


@pytest.mark.parametrize("arguments", [["up"], ["status"], ["down"], ["image", "ls"], ["proxy-mode"]])
def test_state_that_cannot_be_reached_is_a_message(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAMPAN_HOME", str(tmp_path / "file" / "home"))
    status = main(arguments)
    printed = capsys.readouterr()
    assert status == 0 or printed.err.startswith("sampan: ")


def test_what_the_machine_refuses_is_a_message_with_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> Path:
        raise PermissionError(13, "Permission denied", "/x/lock")

    monkeypatch.setattr("sampan.cluster.paths.home", refuse)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["status"]) == 1
    assert capsys.readouterr().err.startswith("sampan: /x/lock: Permission denied; ")


def test_without_a_cluster_status_says_how_to_make_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert "sampan up" in capsys.readouterr().out
    assert not home.exists()


def test_down_of_all_without_any_is_no_error(home: Path) -> None:
    assert main(["down", "--all"]) == 0
