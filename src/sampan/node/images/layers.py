"""Layers of images: tar archives unpacked into directories that overlayfs can use, each only once.

The archive is read by a child that has changed its root to the layer's directory (`unpacking.py`), so that nothing in
it can reach anything else, whatever its names and links are.
"""

import errno
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from sampan.node.images.types import BadImageArchive
from sampan.node.images.unpacking import OPAQUE as OPAQUE

MAX_REPORT = 4096
_CHILD = (sys.executable, "-m", "sampan.node.images.unpacking")


def unpack(source: IO[bytes], diff_id: str, directory: Path) -> Path:
    """Unpack a layer to its `layer_path`, unless it is there. The content must have the digest `diff_id`.

    Atomic: the directory appears complete. Raises BadImageArchive. Blocks.
    """
    target = layer_path(directory, diff_id)
    if target.exists():
        return target
    directory.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".unpack-", dir=directory))
    try:
        partial.chmod(0o755)
        digest = _unpack_in_child(source, partial, diff_id)
        if digest != diff_id:
            raise BadImageArchive(f"layer has digest {digest}, expected {diff_id}")
        _publish(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def layer_path(directory: Path, diff_id: str) -> Path:
    """Where a layer is or would be. The name is half of the digest, as mount(2) takes 4,096 bytes for all layers."""
    return directory / diff_id.removeprefix("sha256:")[:32]


def _publish(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError as error:  # another process was faster
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def _unpack_in_child(source: IO[bytes], directory: Path, diff_id: str) -> str:
    """Have everything unpacked into `directory`; the digest of the archive. Raises BadImageArchive."""
    with tempfile.TemporaryFile() as report:
        child = subprocess.Popen([*_CHILD, str(directory)], stdin=subprocess.PIPE, stdout=report, stderr=report)
        assert child.stdin is not None
        try:
            with child.stdin:
                shutil.copyfileobj(source, child.stdin, 1 << 20)
        except BrokenPipeError:
            pass  # it has found something that it does not like
        except BaseException:
            child.kill()
            raise
        finally:
            status = child.wait()
        report.seek(0)
        said = report.read(MAX_REPORT).decode(errors="replace").strip()
    if status:
        why = said.splitlines()[-1] if said else f"its reader ended with status {status}"
        raise BadImageArchive(f"layer {diff_id} is damaged: {why}")
    return said
