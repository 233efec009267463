"""The shapes of names: object names, label keys and values, port names, environment variables, config keys.

Each check returns the list of what is wrong, in upstream's words, which is empty for a valid name; validation puts the
field's path in front (`sampan.machinery.errors.FieldError`). Sources: RFC 1035, RFC 1123, RFC 6335.
"""

import re
import secrets
from collections.abc import Iterable

DNS1123_LABEL_MAX = 63
DNS1123_SUBDOMAIN_MAX = 253
_PORT_NAME_MAX = 15
_GENERATED_NAME_MAX = 63
_SUFFIX_LENGTH = 5
_ALPHANUMS = "bcdfghjklmnpqrstvwxz2456789"

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"

_is_label = re.compile(_LABEL, re.ASCII).fullmatch
_is_subdomain = re.compile(_SUBDOMAIN, re.ASCII).fullmatch
_is_label_1035 = re.compile(_LABEL_1035, re.ASCII).fullmatch
_is_qualified = re.compile(_QUALIFIED, re.ASCII).fullmatch
_is_label_value = re.compile(_LABEL_VALUE, re.ASCII).fullmatch
_is_wildcard = re.compile(_WILDCARD, re.ASCII).fullmatch
_is_config_key = re.compile(_CONFIG_KEY, re.ASCII).fullmatch
_is_port_charset = re.compile("[-a-z0-9]+", re.ASCII).fullmatch
_has_letter = re.compile("[a-z]", re.ASCII).search
_is_relaxed_env = re.compile("[ -<>-~]*", re.ASCII).fullmatch

_QUALIFIED_MESSAGE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)


def dns1123_label(name: str) -> list[str]:
    """A namespace or a host name without dots: at most 63 characters."""
    errors = _too_long(name, DNS1123_LABEL_MAX)
    if _is_label(name):
        return errors
    if _is_subdomain(name):
        return [*errors, "must not contain dots"]
    message = (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
        "and must start and end with an alphanumeric character"
    )
    return [*errors, _pattern(message, _LABEL, "my-name", "123-abc")]


def dns1123_subdomain(name: str) -> list[str]:
    """The name of most objects: at most 253 characters, labels joined by dots."""
    errors = _too_long(name, DNS1123_SUBDOMAIN_MAX)
    if _is_subdomain(name):
        return errors
    message = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return [*errors, _pattern(message, _SUBDOMAIN, "example.com")]


def dns1035_label(name: str) -> list[str]:
    """The name of a Service: a label that starts with a letter."""
    errors = _too_long(name, DNS1123_LABEL_MAX)
    if _is_label_1035(name):
        return errors
    message = (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
        "start with an alphabetic character, and end with an alphanumeric character"
    )
    return [*errors, _pattern(message, _LABEL_1035, "my-name", "abc-123")]


def wildcard_subdomain(name: str) -> list[str]:
    """The host of an Ingress rule that starts with `*.`."""
    errors = _too_long(name, DNS1123_SUBDOMAIN_MAX)
    if _is_wildcard(name):
        return errors
    message = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, "
        "which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
    )
    return [*errors, _pattern(message, _WILDCARD, "*.example.com")]


def qualified_name(name: str) -> list[str]:
    """A label key, a resource name or an annotation: a name with an optional DNS prefix and a slash."""
    prefix, slash, short = name.rpartition("/")
    wrong = _pattern(_QUALIFIED_MESSAGE, _QUALIFIED, "MyName", "my.name", "123-abc")
    if "/" in prefix:
        return [f"a qualified name {wrong} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    errors: list[str] = []
    if slash:
        messages = dns1123_subdomain(prefix) if prefix else ["must be non-empty"]
        errors += [f"prefix part {message}" for message in messages]
    if not short:
        errors.append("name part must be non-empty")
    elif len(short) > DNS1123_LABEL_MAX:
        errors.append(f"name part must be no more than {DNS1123_LABEL_MAX} characters")
    if not _is_qualified(short):
        errors.append(f"name part {wrong}")
    return errors


def label_value(value: str) -> list[str]:
    errors = _too_long(value, DNS1123_LABEL_MAX)
    if _is_label_value(value):
        return errors
    message = (
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return [*errors, _pattern(message, _LABEL_VALUE, "MyValue", "my_value", "12345")]


def port_name(name: str) -> list[str]:
    """An IANA service name (RFC 6335, section 5.1): what a named target port may be."""
    errors = _too_long(name, _PORT_NAME_MAX)
    if not _is_port_charset(name):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not _has_letter(name):
        errors.append("must contain at least one letter (a-z)")
    if "--" in name:
        errors.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def env_var_name(name: str) -> list[str]:
    """The name of a container's environment variable: any printable ASCII but `=`, as of release 1.34."""
    errors = [] if name else ["environment variable name must be non-empty"]
    if not _is_relaxed_env(name):
        errors.append(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        )
    return errors


def config_map_key(key: str) -> list[str]:
    """A key of a ConfigMap's or Secret's data, which becomes a file's name."""
    errors = _too_long(key, DNS1123_SUBDOMAIN_MAX)
    if not _is_config_key(key):
        message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        errors.append(_pattern(message, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if key in (".", ".."):
        errors.append(f"must not be '{key}'")
    elif key.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def path_segment(name: str) -> list[str]:
    """A name that only has to fit into a URL's path (roles, role bindings)."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{character}'" for character in "/%" if character in name]


def port_number(port: int) -> list[str]:
    return [] if 1 <= port <= 65535 else ["must be between 1 and 65535, inclusive"]


def generate_suffix() -> str:
    """Five random characters without vowels, so that no word arises."""
    number = secrets.randbits(40)
    return "".join(_ALPHANUMS[(number >> shift & 0xFF) % 27] for shift in (0, 8, 16, 24, 32))


def generate_name(base: str) -> str:
    """`metadata.generateName` made into a name: the base, cut to fit a label, and a random suffix."""
    return base[: _GENERATED_NAME_MAX - _SUFFIX_LENGTH] + generate_suffix()


def safe_encode(text: str) -> str:
    """A hash made pronounceable in the same alphabet as suffixes (`pod-template-hash`)."""
    return "".join(_ALPHANUMS[byte % 27] for byte in text.encode())


def _too_long(name: str, limit: int) -> list[str]:
    return [f"must be no more than {limit} characters"] if len(name) > limit else []


def _pattern(message: str, pattern: str, *examples: str) -> str:
    return f"{message} (e.g. {_joined(examples)}, regex used for validation is '{pattern}')"


def _joined(examples: Iterable[str]) -> str:
    return ",  or ".join(f"'{example}'" for example in examples)
