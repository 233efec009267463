"""What a machine lacks is listed together, each with what to do; a taken port is named."""

import socket

import pytest

from sampan.cluster import preflight
from sampan.cluster.preflight import PreflightError


def test_everything_missing_is_told_at_once_with_the_command_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda program, path: None if program in ("crun", "nft") else program)
    with pytest.raises(PreflightError) as refused:
        preflight.check()
    root, programs = str(refused.value).splitlines()[:2]
    assert "run it with sudo" in root
    assert programs == "missing: crun, nft; install with: apt-get install --no-install-recommends crun nftables"


def test_a_port_is_taken_as_asked_or_the_first_free_one() -> None:
    with preflight.listen(0) as first, preflight.listen(0) as second:
        assert 6443 <= first.getsockname()[1] < second.getsockname()[1]
        taken = first.getsockname()[1]
        with pytest.raises(PreflightError, match=f"port {taken} of 127.0.0.1 .*--api-port"):
            preflight.listen(taken)


def test_a_port_that_just_became_free_can_be_taken_again() -> None:
    with preflight.listen(0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listener.accept()
            accepted.close()
    with preflight.listen(port) as again:
        assert again.getsockname()[1] == port
