"""Container images made from what is on the machine: busybox, a few files, and a command."""

import hashlib
import io
import json
import sys
import tarfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
APPLETS = (
    "sh",
    "httpd",
    "nc",
    "wget",
    "sleep",
    "cat",
    "ls",
    "env",
    "nslookup",
    "ping",
    "tcpsvd",
    "hostname",
    "ip",
    "ps",
)


def docker_archive(
    path: Path, tag: str, command: Sequence[str], files: Mapping[str, str] | None = None, env: Sequence[str] = ()
) -> Path:
    """Write what `docker save TAG` would: one layer with busybox and `files`, running `command`."""
    layer = _layer(files or {})
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": list(command), "Env": ["PATH=/bin:/usr/bin", *env], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created_by": "tests"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [tag], "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        _add(archive, f"{digest}/layer.tar", layer)
        _add(archive, config_name, config)
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    return path


def _layer(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for directory in ("bin", "etc", "tmp", "usr", "usr/bin", "root"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            layer.addfile(entry)
        _add(layer, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(link)
        for name, text in {"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", **files}.items():
            _add(layer, name, text.encode())
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def push(archive: Path, address: str, name: str, tag: str) -> None:
    """What `docker push` would do with a docker-save archive of one layer."""
    with tarfile.open(archive) as opened:
        contents = {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]
    (listed,) = json.loads(contents["manifest.json"])
    config, layer = contents[listed["Config"]], contents[listed["Layers"][0]]
    for blob in (config, layer):
        upload = _send("POST", f"http://{address}/v2/{name}/blobs/uploads/", b"")
        joint = "&" if "?" in upload else "?"
        _send("PUT", f"{upload}{joint}digest={_digest(blob)}", blob)
    prefix = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": prefix,
        "config": _described("application/vnd.docker.container.image.v1+json", config),
        "layers": [_described("application/vnd.docker.image.rootfs.diff.tar", layer)],
    }
    _send("PUT", f"http://{address}/v2/{name}/manifests/{tag}", json.dumps(manifest).encode(), prefix)


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _described(kind: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(blob), "digest": _digest(blob)}


def _send(method: str, url: str, body: bytes, kind: str = "application/octet-stream") -> str:
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.headers.get("Location", ""))


if __name__ == "__main__":
    push(Path(sys.argv[1]), *sys.argv[2:])
