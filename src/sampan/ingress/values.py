"""Parsers of the values that users write in annotations and in the controller's ConfigMap.

Each takes text and returns a typed value, or raises ValueError with a message that says what is allowed. The
characters that are let through are those of ingress-nginx. Nothing here relies on the renderer's quoting, nor the
renderer on this.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Protocol, TypeVar

from sampan.ingress.model import Networks, Text, Variable

T = TypeVar("T")
Parser = Callable[[str], object]

LONGEST = 65536
LONGEST_PARAMETER = 2048
"""nginx refuses parameters that do not fit into its buffer of 4096 bytes."""
_LARGEST = 2**31 - 1

_NAME_CHARS = r"\-._~a-zA-Z0-9/:"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SIZE = re.compile(r"(\d{1,10})([bkmg]?)", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,10})(ms|s|m|h|d|w|M|y)?", re.ASCII)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
_HEADER_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_SIZES = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "M": 30 * 86400, "y": 365 * 86400}

_VARIABLE_FAMILIES = ("http_", "arg_", "cookie_", "sent_http_", "upstream_http_", "upstream_cookie_")
_VARIABLE_NAMES = """
    args binary_remote_addr body_bytes_sent bytes_sent connection connection_requests connection_time content_length
    content_type date_gmt date_local document_uri host hostname http2 https is_args limit_rate msec nginx_version pid
    pipe proxy_protocol_addr proxy_protocol_port proxy_protocol_server_addr proxy_protocol_server_port query_string
    realpath_root remote_addr remote_port remote_user request request_body request_completion request_filename
    request_id request_length request_method request_time request_uri scheme server_addr server_name server_port
    server_protocol status time_iso8601 time_local uri proxy_host proxy_port proxy_add_x_forwarded_for
    ssl_cipher ssl_ciphers ssl_client_escaped_cert ssl_client_fingerprint ssl_client_i_dn ssl_client_i_dn_legacy
    ssl_client_s_dn ssl_client_s_dn_legacy ssl_client_serial ssl_client_v_end ssl_client_v_remain ssl_client_v_start
    ssl_client_verify ssl_curve ssl_curves ssl_early_data ssl_protocol ssl_server_name ssl_session_id
    ssl_session_reused upstream_addr upstream_bytes_received upstream_bytes_sent upstream_cache_status
    upstream_connect_time upstream_header_time upstream_response_length upstream_response_time upstream_status
    realip_remote_addr realip_remote_port fastcgi_script_name fastcgi_path_info
    namespace ingress_name service_name service_port location_path proxy_upstream_name req_id best_http_host
    pass_access_scheme pass_port
"""
VARIABLES = frozenset(_VARIABLE_NAMES.split())
"""nginx's own variables and those that the rendered file defines in every location."""


def plain(text: str, longest: int = LONGEST_PARAMETER) -> str:
    """`text` unless it is too long for one parameter or has control characters."""
    if len(text.encode(errors="surrogatepass")) > longest:
        raise ValueError(f"the value is longer than {longest} bytes")
    if _CONTROL.search(text):
        raise ValueError("the value has a line break, a NUL or another control character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the value is not valid UTF-8") from None
    return text


def matching(allowed: str, what: str, longest: int = LONGEST_PARAMETER) -> Callable[[str], str]:
    """A parser of text of which every character is in the regular expression's class `allowed`."""
    pattern = re.compile(f"[{allowed}]*", re.ASCII)

    def parse(text: str) -> str:
        text = plain(text.strip(), longest)
        if not pattern.fullmatch(text):
            raise ValueError(f"only {what} are allowed")
        return text

    return parse


def pattern(regex: str, what: str) -> Callable[[str], str]:
    """A parser of text that matches `regex` as a whole."""
    compiled = re.compile(regex, re.ASCII)

    def parse(text: str) -> str:
        text = plain(text.strip())
        if not compiled.fullmatch(text):
            raise ValueError(f"must be {what}")
        return text

    return parse


def one_of(*choices: str, case: bool = True) -> Callable[[str], str]:
    def parse(text: str) -> str:
        text = plain(text.strip())
        for choice in choices:
            if text == choice or (not case and text.lower() == choice.lower()):
                return choice
        raise ValueError("must be one of " + ", ".join(choices))

    return parse


def boolean(text: str) -> bool:
    """What Go's strconv.ParseBool takes."""
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise ValueError('must be "true" or "false"')


def on_off(text: str) -> bool:
    return one_of("on", "off")(text) == "on"


def integer(lowest: int = 0, highest: int = _LARGEST) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,10}", text, re.ASCII) or not lowest <= int(text) <= highest:
            bounds = f" between {lowest} and {highest}" if highest != _LARGEST else f" of at least {lowest}"
            raise ValueError(f"must be a whole number{bounds}")
        return int(text)

    return parse


def size(text: str) -> int:
    """Bytes of nginx's sizes: 1000, 100k, 8M."""
    found = _SIZE.fullmatch(text.strip().replace(" ", ""))
    if found is None or int(found[1]) * _SIZES[found[2].lower()] >= 2**63:
        raise ValueError("must be a size: a number with k, m, g or nothing after it")
    return int(found[1]) * _SIZES[found[2].lower()]


def memory(largest: str) -> Callable[[str], int]:
    """A size of memory, which is neither 0 nor above `largest`: each request may take as much."""

    def parse(text: str) -> int:
        found = size(text)
        if not 0 < found <= size(largest):
            raise ValueError(f"must be above 0 and at most {largest}")
        return found

    return parse


def seconds(text: str) -> int:
    """Seconds of nginx's times: 60, 60s, 10m, 1h."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError("must be a time: a number with s, m, h or d after it")
    if found[2] == "ms":
        return -(-int(found[1]) // 1000)
    return min(int(found[1]) * _SECONDS[found[2] or "s"], _LARGEST)


def listed(item: Callable[[str], T], separator: str = ",") -> Callable[[str], tuple[T, ...]]:
    """A parser of a list; empty items are left out."""

    def parse(text: str) -> tuple[T, ...]:
        parts = plain(text, LONGEST).split(separator if separator != " " else None)
        return tuple(item(part.strip()) for part in parts if part.strip())

    return parse


def networks(text: str) -> Networks:
    """Addresses and CIDR ranges, sorted, in canonical form. Host bits are cleared, as ingress-nginx does."""
    found = set()
    for part in listed(plain)(text):
        try:
            found.add(ipaddress.ip_network(part, strict=False))
        except ValueError:
            raise ValueError(f"{part[:50]!r} is no address and no CIDR range") from None
    return tuple(
        str(each.network_address) if each.prefixlen == each.max_prefixlen else str(each)
        for each in sorted(found, key=lambda each: (each.version, int(each.network_address), each.prefixlen))
    )


def variable(name: str, more: frozenset[str] = frozenset()) -> Variable:
    """A variable that every location knows, or one of `more`."""
    if name not in VARIABLES and name not in more and not name.startswith(_VARIABLE_FAMILIES):
        raise ValueError(f"${name[:50]} is not a variable that is known here")
    return Variable(name)


def text(value: str, more: frozenset[str] = frozenset()) -> Text:
    """Literal text with `$name` or `${name}` in it. A `$` before anything else is refused."""
    parts: list[str | Variable] = []
    at = 0
    for found in _VARIABLE.finditer(plain(value)):
        parts += [value[at : found.start()], variable(found[1] or found[2], more)]
        at = found.end()
    parts.append(value[at:])
    if any(isinstance(part, str) and "$" in part for part in parts):
        raise ValueError("a $ must be followed by the name of a variable")
    return tuple(part for part in parts if part != "")


class TextParser(Protocol):
    def __call__(self, value: str, more: frozenset[str] = ..., /) -> Text: ...


def text_of(allowed: str, what: str) -> TextParser:
    """A parser of text with variables of which every character is in `allowed`."""
    check = matching(allowed, what)

    def parse(value: str, more: frozenset[str] = frozenset(), /) -> Text:
        found = text(check(value), more)
        if any(isinstance(part, str) and ("{" in part or "}" in part) for part in found):
            raise ValueError("braces stand only around the name of a variable, after $")
        return found

    return parse


url_with_variables = text_of(_NAME_CHARS + r"?&=%+,${}", "letters, digits and - . _ ~ / : ? & = % + , $ { }")
url = matching(_NAME_CHARS + r"?&=%+,#@", "letters, digits and - . _ ~ / : ? & = % + ,")
basic = matching(_NAME_CHARS, "letters, digits and - . _ ~ / :")
basic_with_spaces = matching(_NAME_CHARS + " ", "letters, digits, spaces and - . _ ~ / :")
variables_only = text_of(r"A-Za-z0-9\-_${}", "letters, digits and - _ $ { }")


def absolute_url(value: str) -> str:
    if not re.match(r"https?://[^/]", url(value)):
        raise ValueError("must be a URL that begins with http:// or https://")
    return url(value)


def absolute_url_with_variables(value: str, more: frozenset[str] = frozenset()) -> Text:
    found = url_with_variables(value, more)
    if not re.match(r"(https?|\$\{?scheme\}?)://[^/]", value.strip()):
        raise ValueError("must be a URL that begins with http:// or https://")
    return found


def header(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("a header's name has only letters, digits, - and _")
    return name


def header_value(value: str) -> str:
    return plain(value.strip())


def cookie_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.~-]{1,128}", name, re.ASCII):
        raise ValueError("a cookie's name has only letters, digits and - . _ ~")
    return name


def reference(value: str) -> tuple[str, str]:
    """`name` or `namespace/name`; the namespace is "" where none is given."""
    found = re.fullmatch(r"(?:([a-z0-9][-a-z0-9]{0,62})/)?([a-z0-9][-.a-z0-9]{0,252})", value.strip(), re.ASCII)
    if found is None:
        raise ValueError("must be a name, or a namespace and a name with / between them")
    return found[1] or "", found[2]


def tokens(allowed: str, what: str) -> Callable[[str], tuple[str, ...]]:
    """A parser of words with spaces between them."""
    return listed(matching(allowed, what), " ")
