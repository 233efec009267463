"""`sampan publish` refuses what makes no sense before it asks anybody, and knows which publications are meant."""

from pathlib import Path

import pytest

from sampan.cli import publish
from sampan.cli.main import main
from sampan.cluster.control import Publication


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ingress", "web"], "--ingress names the Service"),
        (["web", "--http-port", "80"], "go with --ingress"),
        (["--remove"], "--remove: what?"),
        (["web", "70000"], "70000 is not a port"),
        (["--ingress", "--https-port", "-1"], "-1 is not a port"),
    ],
)
def test_words_that_do_not_fit_together_are_told(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAMPAN_HOME", str(tmp_path))
    assert main(["publish", *words]) == 1
    assert message in capsys.readouterr().err


def test_help_shows_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["publish", "--help"])
    shown = capsys.readouterr().out
    assert "sampan publish -n kube-system kube-dns:53/udp" in shown
    assert "sampan publish --ingress --http-port 80 --https-port 443" in shown


@pytest.mark.parametrize(
    ("named", "expected"),
    [("", True), ("53", True), ("53/udp", True), ("53/UDP", True), ("53/tcp", False), ("dns", False), ("/udp", True)],
)
def test_a_publication_is_meant_by_the_port_it_was_published_with(named: str, expected: bool) -> None:
    publication = Publication(namespace="kube-system", service="kube-dns", port="53", host_port=5300, protocol="UDP")
    assert publish._means(named, publication) is expected
