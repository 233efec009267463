"""`root FOLDER`: where relative paths of this server block's other plugins begin. `config` hands it to them."""

from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind, no_options


def parse(directive: Directive, zones: tuple[str, ...]) -> str:
    no_options(directive)
    (folder,) = directive.expect(1)
    if not directive.path().is_dir():
        raise directive.error(f"{folder}: no such folder")
    return folder


KIND = Kind("root", parse)
