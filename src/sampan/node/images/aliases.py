"""Names of images that programs of this machine stand in for.

The table is for where no registry has the image. Users have their own in `aliases.yaml` in the image store, a list of
entries with the same fields; those are asked before any registry.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from sampan.node.images import builtin, busybox
from sampan.node.images.reference import Reference
from sampan.node.images.types import ImageError

NGINX_CONFIGURATION = """\
worker_processes 1;
error_log stderr;
pid /run/nginx.pid;
events { worker_connections 512; }
http {
    include /etc/nginx/mime.types;
    access_log /dev/stdout;
    server {
        listen 80 default_server;
        root /usr/share/nginx/html;
        index index.html index.htm;
    }
    include /etc/nginx/conf.d/*.conf;
}
"""
NGINX_PAGE = """\
<!DOCTYPE html>
<html>
<head><title>Welcome to nginx!</title></head>
<body><h1>Welcome to nginx!</h1></body>
</html>
"""


_BEFORE_CLASSES = ("--created-events", "--watch-ingress-without-class")
"""As ingress-nginx was before IngressClasses."""


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A host program in an image's stead. `program` must be installed for the alias to apply."""

    names: tuple[str, ...]
    """Repositories without tag, fully qualified or as users shorten them."""
    program: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    files: dict[str, str] = {}
    alone: bool = False
    """Containers see `program`, which must be a static busybox, in place of the machine's root."""
    builtin: str = ""
    """The built-in image that it is; `command` then has flags that releases under these names had by nature."""

    def applies(self) -> bool:
        found = shutil.which(self.program)
        return found is not None and (not self.alone or busybox.is_static(found))


TABLE = (
    Alias(
        names=("nginx",),
        program="nginx",
        command=("nginx", "-g", "daemon off;"),
        files={"/etc/nginx/nginx.conf": NGINX_CONFIGURATION, "/usr/share/nginx/html/index.html": NGINX_PAGE},
    ),
    Alias(names=("busybox",), program="busybox", command=("sh",), alone=True),
    Alias(names=("busybox", "alpine", "debian", "ubuntu", "centos"), program="sh", command=("sh",)),
    Alias(names=("bash",), program="bash", command=("bash",)),
    Alias(names=("python",), program="python3", command=("python3",)),
    Alias(names=("curlimages/curl",), program="curl", entrypoint=("curl",)),
    Alias(names=("redis",), program="redis-server", command=("redis-server", "--protected-mode", "no")),
    Alias(names=("memcached",), program="memcached", command=("memcached", "-u", "nobody")),
    Alias(names=("haproxy",), program="haproxy", command=("haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg")),
    Alias(names=("mysql", "mariadb"), program="mysqld", command=("mysqld", "--user=mysql", "--bind-address=0.0.0.0")),
    Alias(names=("postgres",), program="postgres", command=("postgres",)),
    Alias(
        names=(
            "quay.io/kubernetes-ingress-controller/nginx-ingress-controller",
            "us.gcr.io/k8s-artifacts-prod/ingress-nginx/controller",
        ),
        program="nginx",
        command=_BEFORE_CLASSES,
        builtin=builtin.INGRESS,
    ),
    Alias(
        names=(
            "k8s.gcr.io/ingress-nginx/controller",
            "registry.k8s.io/ingress-nginx/controller",
        ),
        program="nginx",
        builtin=builtin.INGRESS,
    ),
)


def find(reference: Reference, table: Sequence[Alias]) -> Alias | None:
    """The first alias for an image that applies: its program is installed."""
    names = {reference.repository, reference.path, reference.path.removeprefix("library/")}
    if reference.domain != "docker.io":
        names = {reference.repository}
    for alias in table:
        if names.intersection(alias.names) and alias.applies():
            return alias
    return None


def load(file: Path) -> tuple[Alias, ...]:
    """The user's own; none without the file. Raises ImageError if it is wrong."""
    if not file.exists():
        return ()
    import yaml

    try:
        return msgspec.convert(yaml.safe_load(file.read_text()) or [], tuple[Alias, ...])
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ImageError(f"{file}: {error}") from error
