"""Root file systems of containers: fresh or kept, and in memory where overlayfs cannot have its upper layer."""

from pathlib import Path

import pytest

from sampan.kernel import mounts
from sampan.node.images import builtin
from sampan.node.rootfs import mount_rootfs, unmount_rootfs
from support.isolated import isolated

pytestmark = pytest.mark.kernel


@isolated
async def test_a_state_directory_on_overlayfs_gets_its_writable_layers_in_memory(tmp_path: Path) -> None:
    lower, upper, work, state = (tmp_path / name for name in ("lower", "upper", "work", "state"))
    for directory in (lower, upper, work, state):
        directory.mkdir()
    mounts.overlay([lower], upper, work, state)
    root = mount_rootfs(builtin.host(()), state / "one")
    (root / "etc" / "written").write_text("here")
    assert (root / "etc" / "passwd").read_text() == Path("/etc/passwd").read_text()
    assert [point.kind for point in mounts.below(state / "one")] == ["tmpfs", "overlay"]
    unmount_rootfs(state / "one")
    assert not mounts.below(state / "one")
    assert not list(state.iterdir())
    assert not Path("/etc/written").exists()


@isolated
async def test_a_root_is_fresh_unless_it_is_to_be_kept(tmp_path: Path) -> None:
    for keep, found in ((False, []), (True, ["note"])):
        directory = tmp_path / str(keep)
        root = mount_rootfs(builtin.host(()), directory, keep=keep)
        (root / "srv" / "note").write_text("x")
        mounts.unmount(root)
        root = mount_rootfs(builtin.host(()), directory, keep=keep)
        assert [entry.name for entry in (root / "srv").iterdir() if entry.name == "note"] == found
        unmount_rootfs(directory)
