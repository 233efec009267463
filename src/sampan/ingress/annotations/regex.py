"""Whether nginx will take a regular expression, asked of the library that nginx itself uses.

One expression that PCRE refuses would make nginx refuse the whole file. Named groups are refused here: nginx makes a
variable of each, and so they could overwrite the variables that choose the backend.
"""

import ctypes
import ctypes.util
import re
from functools import lru_cache

_LONGEST = 1024
_NAMED_GROUP = re.compile(r"\(\?(P?<(?![=!])|')")


@lru_cache(maxsize=16384)
def check(regex: str) -> str:
    """What is wrong with `regex`; "" where nothing is."""
    if len(regex) > _LONGEST:
        return f"the regular expression is longer than {_LONGEST} characters"
    if _NAMED_GROUP.search(regex):
        return "named groups are not allowed in regular expressions: use ( ) and $1"
    library = _pcre2()
    if library is None:
        try:
            re.compile(regex)
        except (re.error, RecursionError, OverflowError) as error:
            return f"the regular expression is not valid: {error}"
        return ""
    number, offset = ctypes.c_int(), ctypes.c_size_t()
    encoded = regex.encode(errors="replace")
    code = library.pcre2_compile_8(encoded, len(encoded), 0, ctypes.byref(number), ctypes.byref(offset), None)
    if code:
        library.pcre2_code_free_8(code)
        return ""
    message = ctypes.create_string_buffer(256)
    library.pcre2_get_error_message_8(number, message, 256)
    return f"the regular expression is not valid at character {offset.value}: {message.value.decode(errors='replace')}"


@lru_cache(maxsize=1)
def _pcre2() -> ctypes.CDLL | None:
    """The library, or None where it is not installed; Python's own expressions stand in for it then."""
    try:
        library = ctypes.CDLL(ctypes.util.find_library("pcre2-8") or "libpcre2-8.so.0")
    except OSError:
        return None
    library.pcre2_compile_8.restype = ctypes.c_void_p
    library.pcre2_compile_8.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    library.pcre2_code_free_8.argtypes = [ctypes.c_void_p]
    library.pcre2_get_error_message_8.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
    return library
