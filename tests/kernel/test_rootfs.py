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


@isolated
async def test_containers_share_what_hides_directories_but_not_what_they_write_there(tmp_path: Path) -> None:
    secret, mask_layers = tmp_path / "secret", tmp_path / "mask_layers"
    secret.mkdir(mode=0o750)
    (secret / "key").write_text("x")
    image, inside = builtin.host((secret,)), str(secret).lstrip("/")
    one, two = (mount_rootfs(image, tmp_path / name, mask_layers=mask_layers) for name in ("one", "two"))
    assert list((one / inside).iterdir()) == []
    assert (one / inside).stat().st_mode == secret.stat().st_mode
    (one / inside / "note").write_text("mine")
    assert list((two / inside).iterdir()) == []
    assert len(list(mask_layers.iterdir())) == 1
    assert not list((tmp_path / "two" / "upper").iterdir()), "nothing was made for this container alone"
    for name in ("one", "two"):
        unmount_rootfs(tmp_path / name)


@isolated
async def test_a_directory_that_comes_into_being_later_is_hidden_from_later_containers(tmp_path: Path) -> None:
    secret, mask_layers = tmp_path / "secret", tmp_path / "mask_layers"
    image = builtin.host((secret,))
    mount_rootfs(image, tmp_path / "one", mask_layers=mask_layers)
    secret.mkdir()
    (secret / "key").write_text("x")
    two = mount_rootfs(image, tmp_path / "two", mask_layers=mask_layers)
    assert list((two / str(secret).lstrip("/")).iterdir()) == []
    for name in ("one", "two"):
        unmount_rootfs(tmp_path / name)
