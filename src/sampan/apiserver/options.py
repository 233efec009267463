"""What a query says about how a request is to be done, checked by the rules and in the words of upstream's validation.

`handlers/call.py` and `listing.py` read the options; those of a deletion may also come in the body: `deletion.py`.
"""

from collections.abc import Sequence

from sampan.http.messages import Query
from sampan.machinery.errors import BadRequest, FieldError, Invalid

MAX_MANAGER_BYTES = 128
_KINDS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}
_FIELD_VALIDATION = ("", "Ignore", "Strict", "Warn")
_DIGITS = 18


def check_write(method: str, query: Query, *, applies: bool) -> None:
    """Raises Invalid. `applies`: a server-side apply, the only patch that may be forced."""
    errors = [*_manager_errors(query.get("fieldManager")), *_dry_run_errors(query.getall("dryRun"))]
    chosen = query.get("fieldValidation")
    if chosen not in _FIELD_VALIDATION:
        errors.append(FieldError.not_supported("fieldValidation", chosen, _FIELD_VALIDATION))
    if method == "PATCH" and not applies and query.has("force"):
        errors.append(FieldError.forbidden("force", "may not be specified for non-apply patch"))
    if errors:
        raise invalid(_KINDS.get(method, "CreateOptions"), errors)


def invalid(kind: str, errors: Sequence[FieldError]) -> Invalid:
    return Invalid.of("meta.k8s.io", kind, "", errors)


def integer(query: Query, name: str) -> int | None:
    """None if it is not given. Raises BadRequest."""
    text = query.get(name)
    if not text:
        return None
    digits = text[1:] if text[0] in "+-" else text
    if not (digits.isascii() and digits.isdecimal()):
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if len(digits) > _DIGITS:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)


def _manager_errors(manager: str) -> list[FieldError]:
    errors = []
    if len(manager.encode(errors="replace")) > MAX_MANAGER_BYTES:
        errors.append(FieldError.too_long("fieldManager", MAX_MANAGER_BYTES))
    if not manager.isprintable():
        errors.append(FieldError.invalid("fieldManager", manager, "should only contain printable characters"))
    return errors


def _dry_run_errors(values: Sequence[str]) -> list[FieldError]:
    chosen = [value for value in values if value]
    if all(value == "All" for value in chosen):
        return []
    return [FieldError.not_supported("dryRun", chosen, ("All",))]
