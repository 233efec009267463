"""Names are checked as upstream checks them, and what is wrong is said in upstream's words."""

import re

import pytest

from sampan.machinery import names

LABEL_WRONG = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN_WRONG = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_1035_WRONG = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED_WRONG = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
LABEL_VALUE_WRONG = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)

CASES = [
    (names.dns1123_label, "web-1", []),
    (names.dns1123_label, "1", []),
    (names.dns1123_label, "a.b", ["must not contain dots"]),
    (names.dns1123_label, "a" * 64, ["must be no more than 63 characters"]),
    (names.dns1123_label, "", [LABEL_WRONG]),
    (names.dns1123_label, "Web", [LABEL_WRONG]),
    (names.dns1123_label, "web\n", [LABEL_WRONG]),
    (names.dns1123_subdomain, "a.b-c.d", []),
    (names.dns1123_subdomain, "myNginx", [SUBDOMAIN_WRONG]),
    (names.dns1123_subdomain, "a..b", [SUBDOMAIN_WRONG]),
    (names.dns1123_subdomain, "é", [SUBDOMAIN_WRONG]),
    (names.dns1123_subdomain, "a" * 254, ["must be no more than 253 characters"]),
    (names.dns1035_label, "web-1", []),
    (names.dns1035_label, "1-web", [LABEL_1035_WRONG]),
    (names.dns1035_label, "myNginx", [LABEL_1035_WRONG]),
    (names.dns1035_label, "web.b", [LABEL_1035_WRONG]),
    (names.qualified_name, "app", []),
    (names.qualified_name, "app.kubernetes.io/name", []),
    (names.qualified_name, "", ["name part must be non-empty", f"name part {QUALIFIED_WRONG}"]),
    (names.qualified_name, "/name", ["prefix part must be non-empty"]),
    (names.qualified_name, "Ex/name", [f"prefix part {SUBDOMAIN_WRONG}"]),
    (names.qualified_name, "a" * 64, ["name part must be no more than 63 characters"]),
    (names.qualified_name, "-a", [f"name part {QUALIFIED_WRONG}"]),
    (
        names.qualified_name,
        "a/b/c",
        [
            f"a qualified name {QUALIFIED_WRONG} with an optional DNS subdomain prefix and '/' "
            "(e.g. 'example.com/MyName')"
        ],
    ),
    (names.label_value, "", []),
    (names.label_value, "v1.2_x", []),
    (names.label_value, "a b", [LABEL_VALUE_WRONG]),
    (names.label_value, "a" * 64, ["must be no more than 63 characters"]),
    (names.port_name, "http-alt", []),
    (names.port_name, "80", ["must contain at least one letter (a-z)"]),
    (names.port_name, "a" * 16, ["must be no more than 15 characters"]),
    (names.port_name, "a--b", ["must not contain consecutive hyphens"]),
    (names.port_name, "-a", ["must not begin or end with a hyphen"]),
    (names.port_name, "a_b", ["must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"]),
    (names.env_var_name, "PATH", []),
    (names.env_var_name, "a b.c", []),
    (names.env_var_name, "", ["environment variable name must be non-empty"]),
    (
        names.env_var_name,
        "a=b",
        ["a valid environment variable name must consist only of printable ASCII characters other than '='"],
    ),
    (names.config_map_key, "index.html", []),
    (names.config_map_key, "..", ["must not be '..'"]),
    (names.config_map_key, ".", ["must not be '.'"]),
    (names.config_map_key, "..a", ["must not start with '..'"]),
    (
        names.config_map_key,
        "a/b",
        [
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
            "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
        ],
    ),
    (names.wildcard_subdomain, "*.example.com", []),
    (names.path_segment, "system:node", []),
    (names.path_segment, "..", ["may not be '..'"]),
    (names.path_segment, "a/b%", ["may not contain '/'", "may not contain '%'"]),
]


@pytest.mark.parametrize(("check", "name", "messages"), CASES, ids=lambda case: getattr(case, "__name__", None))
def test_a_name_is_judged_in_upstream_words(check, name, messages):
    assert check(name) == messages


@pytest.mark.parametrize(("port", "valid"), [(0, False), (1, True), (65535, True), (65536, False)])
def test_a_port_number_lies_between_1_and_65535(port, valid):
    assert (names.port_number(port) == []) is valid


def test_suffixes_are_five_characters_without_vowels():
    for _ in range(100):
        assert re.fullmatch("[bcdfghjklmnpqrstvwxz2456789]{5}", names.generate_suffix())


def test_a_generated_name_fits_into_a_label():
    assert len(names.generate_name("x" * 100)) == 63
    assert names.generate_name("web-").startswith("web-")


def test_safe_encode_uses_the_suffix_alphabet():
    assert names.safe_encode("1234567890") == "56789bcdf4"
