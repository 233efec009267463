"""An image's configuration as the OCI image specification has it, and the record that the store keeps of an image."""

from pathlib import Path

import msgspec

from sampan.node.images.layers import layer_path
from sampan.node.images.types import BadImageArchive, Image, ImageConfig


class OCIConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """How containers of an image run; every field may be absent or null."""

    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] | None = None
    working_dir: str | None = None
    user: str | None = None
    stop_signal: str | None = None
    exposed_ports: dict[str, dict[str, str]] | None = None
    volumes: dict[str, dict[str, str]] | None = None
    labels: dict[str, str] | None = None


class OCIRootfs(msgspec.Struct, frozen=True):
    """The digests of the unpacked layers, lowest first."""

    diff_ids: tuple[str, ...] = ()


class OCIImage(msgspec.Struct, frozen=True):
    """An image configuration document."""

    config: OCIConfig | None = None
    rootfs: OCIRootfs = OCIRootfs()

    @classmethod
    def parse(cls, data: bytes) -> "OCIImage":
        """Raises BadImageArchive."""
        try:
            image = msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise BadImageArchive(f"the image's configuration is damaged: {error}") from error
        for diff_id in image.rootfs.diff_ids:
            algorithm, _, digest = diff_id.partition(":")
            if algorithm != "sha256" or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
                raise BadImageArchive(f"the image's configuration is damaged: {diff_id!r} is no sha256 digest")
        return image


class ImageRecord(msgspec.Struct, frozen=True):
    """What the store writes of an image."""

    id: str
    digest: str
    size: int
    image: OCIImage

    def open(self, reference: str, layers: Path) -> Image:
        """The image under one of its names, with its layers' directories."""
        config = self.image.config or OCIConfig()
        return Image(
            id=self.id,
            reference=reference,
            digest=self.digest,
            config=ImageConfig(
                entrypoint=tuple(config.entrypoint or ()),
                command=tuple(config.cmd or ()),
                env=tuple(config.env or ()),
                working_dir=config.working_dir or "",
                user=config.user or "",
                stop_signal=config.stop_signal or "",
                exposed_ports=tuple(config.exposed_ports or ()),
                volumes=tuple(config.volumes or ()),
                labels=config.labels or {},
            ),
            layers=tuple(layer_path(layers, diff_id) for diff_id in reversed(self.image.rootfs.diff_ids)),
            size=self.size,
        )
