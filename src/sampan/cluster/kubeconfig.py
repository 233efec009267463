"""The user's kubeconfig gains a context for each cluster and loses it again; everything else in it stays.

The file is replaced in one step, by rename, under the lock file that kubectl itself uses, so that neither a crash nor
a kubectl at the same moment can leave half a file or lose an entry. A file that is not a kubeconfig is refused, never
overwritten.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

LOCK_WAIT = 5.0
STALE_LOCK = 30.0

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
EXTENSION = "sampan.dev/previous-context"
_LISTS = ("clusters", "contexts", "users")

Document = dict[str, Any]


class KubeconfigError(Exception):
    """The file cannot be changed safely; the message names it and says why."""


def user_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where kubectl would write: the first of $KUBECONFIG that exists, else its last; else ~/.kube/config."""
    given = [Path(part) for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    if given:
        return next((path for path in given if path.exists()), given[-1])
    return Path.home() / ".kube" / "config"


def entry(name: str, server: str, pki: Path) -> Document:
    """A kubeconfig that holds one context, with the administrator's credentials inside."""

    def data(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": data("ca.crt")}
    user = {"client-certificate-data": data("admin.crt"), "client-key-data": data("admin.key")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
        "preferences": {},
    }


def merged(document: Document, added: Document) -> Document:
    """The document with the added context, which replaces one of the same name, made current."""
    result = {"apiVersion": "v1", "kind": "Config", "preferences": {}, **document}
    name = added["current-context"]
    before = result.get("current-context")
    if before == name:
        before = _previous(result, name)
    for listing in _LISTS:
        kept = [item for item in result.get(listing) or () if item.get("name") != name]
        result[listing] = kept + added[listing]
    if before:
        remembered = [{"name": EXTENSION, "extension": {"context": before}}]
        context = {**added["contexts"][0]["context"], "extensions": remembered}
        result["contexts"][-1] = {"name": name, "context": context}
    result["current-context"] = name
    return result


def without(document: Document, name: str) -> Document:
    """The document without the context, cluster and user of that name; what was current before it is so again."""
    result = dict(document)
    for listing in _LISTS:
        result[listing] = [item for item in result.get(listing) or () if item.get("name") != name]
    if result.get("current-context") == name:
        previous = _previous(document, name)
        known = any(item.get("name") == previous for item in result["contexts"])
        result["current-context"] = previous if known else ""
    return result


def _previous(document: Document, name: str) -> str:
    """What the context of that name says was current before it."""
    for item in document.get("contexts") or ():
        if item.get("name") == name:
            for extension in (item.get("context") or {}).get("extensions") or ():
                if extension.get("name") == EXTENSION:
                    return str((extension.get("extension") or {}).get("context", ""))
    return ""


def add(path: Path, added: Document) -> None:
    """Merges entries into the user's file, which is created if need be. Raises KubeconfigError, OSError."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _locked(path):
        write(path, merged(_read(path), added))


def remove(path: Path, name: str) -> None:
    """Takes a context out; a file or directory that held nothing else goes too. Raises KubeconfigError, OSError."""
    if not path.exists():
        return
    with _locked(path):
        document = _read(path)
        rest = without(document, name)
        if not any(rest[listing] for listing in _LISTS):
            path.resolve().unlink()
        elif rest != document:
            write(path, rest)
    if path.parent.name == ".kube" and not any(path.parent.iterdir()):
        path.parent.rmdir()


def write(path: Path, document: Document) -> None:
    """Replaces a kubeconfig in one step, readable by its owner only unless it was otherwise before."""
    target = path.resolve()
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "w") as file:
            yaml.dump(document, file, Dumper=_Dumper, sort_keys=False, default_flow_style=False)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            owner = target.stat()
            os.chown(temporary, owner.st_uid, owner.st_gid)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read(path: Path) -> Document:
    try:
        document = yaml.load(path.read_text(), Loader=_Loader)
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise KubeconfigError(f"{path} is not YAML, so it is left alone: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(_is_listing(document.get(listing)) for listing in _LISTS):
        raise KubeconfigError(f"{path} is not a kubeconfig, so it is left alone")
    return document


def _is_listing(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(item, dict) for item in value))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds PATH.lock as kubectl does: whoever creates the file has the lock."""
    lock = path.with_name(path.name + ".lock")
    deadline = time.monotonic() + LOCK_WAIT
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            break
        except FileExistsError:
            _break_stale(lock)
            if time.monotonic() > deadline:
                raise KubeconfigError(f"{path} is locked by another program; if none runs, remove {lock}") from None
            time.sleep(0.02)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _break_stale(lock: Path) -> None:
    """Removes a lock whose owner must have died: nobody needs it for so long."""
    try:
        if time.time() - lock.stat().st_mtime > STALE_LOCK:
            lock.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
