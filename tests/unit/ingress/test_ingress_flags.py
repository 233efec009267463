"""The command line of ingress-nginx is understood as Go's flag package reads it; what has no effect is told."""

from dataclasses import fields

import pytest

from sampan.ingress.controller import options_of
from sampan.ingress.flags import _NO_EFFECT, FlagError, Flags, duration, parse

MANDATORY = (
    "--configmap=ingress-nginx/nginx-configuration",
    "--tcp-services-configmap=ingress-nginx/tcp-services",
    "--udp-services-configmap=ingress-nginx/udp-services",
    "--publish-service=ingress-nginx/ingress-nginx",
    "--annotations-prefix=nginx.ingress.kubernetes.io",
)


def test_the_flags_of_the_well_known_manifest() -> None:
    flags, idle = parse(MANDATORY)
    assert idle == []
    assert flags.configmap == "ingress-nginx/nginx-configuration"
    assert flags.publish_service == "ingress-nginx/ingress-nginx"
    assert options_of(flags).tcp_services_configmap == "ingress-nginx/tcp-services"


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--http-port=8080"], "http_port", 8080),
        (["--http-port", "8080"], "http_port", 8080),
        (["-http-port=8080"], "http_port", 8080),
        (["--enable-ssl-passthrough"], "enable_ssl_passthrough", True),
        (["--enable-ssl-passthrough=F"], "enable_ssl_passthrough", False),
        (["--update-status=false", "--http-port=1"], "update_status", False),
        (["--election-ttl=1m30s"], "election_ttl", 90.0),
        (["--shutdown-grace-period=5"], "shutdown_grace_period", 5.0),
        (["--watch-namespace="], "watch_namespace", ""),
    ],
)
def test_values_are_written_as_go_takes_them(words: list[str], field: str, value: object) -> None:
    assert getattr(parse(words)[0], field) == value


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--no-such-flag", "unknown flag: --no-such-flag"),
        ("stray", "'stray' is not a flag"),
        ("--http-port=many", "invalid argument 'many' for --http-port"),
        ("--update-status=perhaps", "invalid argument 'perhaps' for --update-status"),
        ("--configmap=no-namespace", "expected NAMESPACE/NAME"),
        ("--http-port", "flag needs an argument: --http-port"),
    ],
)
def test_what_cannot_be_is_refused(word: str, message: str) -> None:
    with pytest.raises(FlagError, match=message):
        parse([word])


def test_a_flag_without_effect_says_so_and_no_flag_is_both() -> None:
    flags, idle = parse(["--sync-rate-limit=0.3", "--profiling"])
    assert flags == Flags()
    assert [sentence.split(" has no effect")[0] for sentence in idle] == ["--sync-rate-limit", "--profiling"]
    assert not {field.name.replace("_", "-") for field in fields(Flags)} & _NO_EFFECT.keys()


@pytest.mark.parametrize(("text", "seconds"), [("300ms", 0.3), ("1h2m3s", 3723.0), ("1.5s", 1.5), ("7", 7.0)])
def test_times(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5 s", "5x", "-1s", "1s2"])
def test_texts_that_are_no_times(text: str) -> None:
    with pytest.raises(ValueError):
        duration(text)
