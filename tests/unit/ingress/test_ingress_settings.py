"""Keys of the controller's ConfigMap."""

from __future__ import annotations

import pytest

from sampan.ingress import settings
from sampan.ingress.model import Variable
from sampan.ingress.settings import DEFAULTS, SETTINGS, parse

TRIED: dict[str, tuple[str, object]] = {
    "use-forwarded-headers": ("true", True),
    "proxy-body-size": ("8m", 8 * 1024 * 1024),
    "proxy-read-timeout": ("90", 90),
    "upstream-keepalive-time": ("1h", 3600),
    "worker-shutdown-timeout": ("240s", 240),
    "proxy-next-upstream": ("error http_502", ("error", "http_502")),
    "large-client-header-buffers": ("4 16k", ("4", "16k")),
    "custom-http-errors": ("404,503", ("404", "503")),
    "proxy-set-headers": ("infra/headers", "infra/headers"),
    "whitelist-source-range": ("10.0.0.1/8,192.0.2.1", ("10.0.0.0/8", "192.0.2.1")),
    "allowlist-source-range": ("10.0.0.0/8", ("10.0.0.0/8",)),
    "global-auth-url": ("https://auth.example.com/check", ("https://auth.example.com/check",)),
    "upstream-hash-by": ("$request_uri", (Variable("request_uri"),)),
    "hide-headers": ("Server,X-Powered-By", ("Server", "X-Powered-By")),
    "http-redirect-code": ("301", 301),
    "ssl-protocols": ("TLSv1.3", ("TLSv1.3",)),
    "http-snippet": ("map $a $b {\n}", "map $a $b {\n}"),
    "annotations-risk-level": ("Critical", "Critical"),
    "proxy-buffering": ("on", True),
    "load-balance": ("ewma", "ewma"),
}


@pytest.mark.parametrize("key", TRIED)
def test_good_values(key: str) -> None:
    text, typed = TRIED[key]
    found, problems = parse({key: text})
    assert problems == ()
    assert found.values[settings._ALIASES.get(key, key)] == typed


@pytest.mark.parametrize("key", [key for key in SETTINGS if not SETTINGS[key].refused])
def test_every_default_is_a_value(key: str) -> None:
    """The default that docs show is one that the key's own parser takes, and the one that holds."""
    assert SETTINGS[key].parse(SETTINGS[key].default) == DEFAULTS.values[key]


@pytest.mark.parametrize("key", [key for key in SETTINGS if not SETTINGS[key].kind.startswith("nginx")])
def test_hostile_values_leave_the_default(key: str) -> None:
    """A NUL or a line break with a directive after it never becomes a setting."""
    for text in ("x\0", "x;\nreturn 200;\0", "a" * 1024 * 1024 + "\0"):
        found, problems = parse({key: text})
        assert [name for name, _ in problems] == [key]
        assert found == DEFAULTS


@pytest.mark.parametrize("key", [key for key in SETTINGS if SETTINGS[key].refused])
def test_refused_keys_say_so(key: str) -> None:
    found, problems = parse({key: "true"})
    assert found == DEFAULTS
    assert problems == ((key, f"the key has no effect: {SETTINGS[key].refused}"),)


def test_unknown_keys_are_told() -> None:
    assert parse({"proxy-body-sise": "8m"})[1][0][0] == "proxy-body-sise"


def test_one_bad_key_leaves_the_others() -> None:
    found, problems = parse({"proxy-body-size": "huge", "hsts": "false"})
    assert found.values["hsts"] is False
    assert found.values["proxy-body-size"] == DEFAULTS.values["proxy-body-size"]
    assert len(problems) == 1


def test_values_are_read_with_their_type() -> None:
    assert settings.value(DEFAULTS, "hsts", bool) is True
    with pytest.raises(TypeError):
        settings.value(DEFAULTS, "hsts", str)
