"""Root-relative links in proxied HTML get the proxy's prefix, so that a browser's next request finds its way."""

import re

_LINK_ATTRIBUTES = (
    "action", "archive", "background", "cite", "classid", "codebase", "data", "formaction", "href", "icon", "longdesc",
    "manifest", "poster", "profile", "src", "usemap",
)  # fmt: skip
_TAG = re.compile(rb"<[a-zA-Z][^<>]*>")
_LINK = re.compile(
    rb"(\s(?:" + "|".join(_LINK_ATTRIBUTES).encode() + rb")\s*=\s*[\"']?)(/(?!/)[^\"'\s>]*)", re.IGNORECASE
)


def rewrite_links(body: bytes, prefix: str) -> bytes:
    """Put `prefix` in front of every link in `body` that begins with a single slash and does not have it yet."""
    start = prefix.encode()

    def link(match: re.Match[bytes]) -> bytes:
        path = match[2]
        return match[1] + (path if path.startswith(start + b"/") else start + path)

    return _TAG.sub(lambda tag: _LINK.sub(link, tag[0]), body)
