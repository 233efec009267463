"""`$(NAME)` references in environment values, commands and arguments.

The rules are those of the pod API: `$(NAME)` becomes the variable's value, `$$` is an escaped dollar sign, and a
reference to an unknown variable stays as it was written. `env.py` and `containers.py` use it.
"""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


def expand(text: str, *scopes: Mapping[str, str]) -> str:
    """Replace every reference in `text` by the value in the first scope that has the name."""

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "$"
        return next((scope[name] for scope in scopes if name in scope), match[0])

    return _REFERENCE.sub(replace, text) if "$" in text else text
