"""Any video or folder of images, with cameras and depth where they lie beside it; or a folder of such scenes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveFloat

from smx.datasets import BaseDataset, Cameras, Scene
from smx.datasets._captures import is_record3d
from smx.datasets._files import LOOKED_FOR, NoScene, PoseFormat, Prefer, SceneFiles, find_scenes, look, numbered
from smx.datasets._scan_folders import ReadFiles, digest_of, folder_of, inputs_of
from smx.errors import SceneError, UserError, unknown
from smx.geometry.lenses import Distortion

if TYPE_CHECKING:
    import numpy as np

    from smx.datasets._poses import Joined
    from smx.geometry.lenses import Lens

logger = logging.getLogger(__name__)


class Dataset(BaseDataset):
    """The root is one scene, or a folder of scenes. Frame ids are the numbers in image names, or places in a video."""

    version: ClassVar[int] = 3  # layouts of captures are read by their own rules

    prefer: Prefer = Field(
        default="auto", description="frames from images or video where a scene has both; auto: images"
    )
    poses: PoseFormat = Field(
        default="auto", description="format of the camera file; auto: the first kind that is there"
    )
    intrinsics: tuple[PositiveFloat, PositiveFloat, float, float] | None = Field(
        default=None, description="fx, fy, cx, cy in pixels of the frames, where no file has them (instead of a file's)"
    )
    depth_scale: float | None = Field(
        default=None,
        gt=0,
        description="units of a metre in depth maps; unset: as the capture has it (TUM 5000, Replica 6553.5), else"
        " whole numbers have 1000 and floats are metres",
    )
    distortion: Distortion = Field(
        default="refuse",
        description="a lens that is no pinhole: refuse it, leave-out its distortion, or undistort pictures and depth",
    )
    fps: float | None = Field(default=None, gt=0, description="rate of the numbering of images")
    metric: bool | None = Field(
        default=None, description="whether poses are in metres; unset: as their format has it (COLMAP, nerfstudio: no)"
    )

    def scenes(self, root: Path | None) -> list[str]:
        """Ids of all scenes, sorted; what was skipped is logged as a warning. `UserError` when there is none."""
        found, skipped = self._find(root)
        for name, why in skipped.items():
            logger.warning("%s is no scene and is skipped: %s", name, why)
        return sorted(found)

    def open(self, root: Path | None, scene_id: str) -> Scene:
        """Open one scene: frames are counted, nothing is decoded but the first."""
        found = find_scenes(root, self.prefer, only=scene_id)[0] if root is not None and root.exists() else {}
        if scene_id not in found:
            raise unknown("scene", scene_id, self._find(root)[0], LOOKED_FOR)
        if is_record3d(found[scene_id]):
            from smx.datasets._record3d import Record3DScene

            return Record3DScene(scene_id, found[scene_id])
        try:
            return FramesScene(scene_id, look(found[scene_id], self.prefer), self)
        except NoScene as reason:
            raise SceneError(f"{found[scene_id]}: {reason}") from None

    def digest(self, root: Path | None, scenes: Sequence[str] | None = None) -> str:
        """SHA-256 over `inputs` of these scenes."""
        return digest_of(self.inputs(root, sorted(self._find(root)[0]) if scenes is None else scenes))

    def inputs(self, root: Path | None, scenes: Sequence[str]) -> dict[str, dict[str, str]]:
        """Scene -> file -> digest."""
        one = scenes[0] if len(scenes) == 1 else None
        found = find_scenes(root, self.prefer, one)[0] if root is not None else {}
        return {scene: _inputs(found[scene], self) for scene in scenes if scene in found}

    def _find(self, root: Path | None) -> tuple[dict[str, Path], dict[str, str]]:
        """(scene id -> its folder or video, name -> why it was skipped), at least one scene."""
        if root is None:
            raise UserError("dataset frames needs a root", f"--root FOLDER; {LOOKED_FOR}")
        if not root.exists():
            raise UserError(f"there is nothing at {root}", f"--root FOLDER; {LOOKED_FOR}")
        found, skipped = find_scenes(root, self.prefer)
        if not found:
            reasons = "".join(f"\n  {name}: {why}" for name, why in skipped.items())
            raise UserError(f"no scene at {root}{reasons}", LOOKED_FOR)
        return found, skipped


class FramesScene(Scene):
    """One scene on disk. Cameras and depth are found and read when first asked for."""

    def __init__(self, scene_id: str, layout: SceneFiles, options: Dataset) -> None:
        from smx.datasets._frame_reader import ImageMedia, Media, VideoMedia

        self.id = scene_id
        self._layout, self._options = layout, options
        self._media: Media = (
            VideoMedia(layout.video) if layout.video is not None else ImageMedia(layout.order, options.fps)
        )
        self.frame_ids = self._media.frame_ids
        self.width, self.height, self.fps = self._media.width, self._media.height, self._media.fps

    def timestamps(self) -> np.ndarray:
        """[N] seconds: a video's presentation times, images' names where those are times, number / fps; else NaN."""
        import numpy as np

        if self._media.times is None:
            return np.full(len(self.frame_ids), np.nan)
        times: np.ndarray = self._media.times - self._media.times[0]
        return times

    def clock(self) -> np.ndarray | None:
        """[N] seconds as names and files have them."""
        return self._media.times

    def turns(self) -> np.ndarray:
        """By EXIF or rotation tags."""
        return self._media.turns

    def decode(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(id, uint8 [H, W, 3] RGB), ascending; upright by rotation and EXIF tags, undistorted where asked to be."""
        from smx.geometry.lenses import undistorted

        for frame_id, pixels in self._media.decode(ids):
            lens = self._lens(int(self._positions([frame_id])[0]))
            yield frame_id, pixels if lens is None else undistorted(pixels, lens)

    def cameras(self, ids: Sequence[int]) -> Cameras | None:
        """Cameras of `ids`. `SceneError` where there are poses but no intrinsics, or they do not match the frames."""
        joined = self._joined
        if joined is None:
            return None
        if joined.K is None:
            raise SceneError(
                f"{self.id}: {joined.file} has poses but no intrinsics;"
                " add camera_intrinsic.json, or set the option intrinsics (fx, fy, cx, cy), or poses: none"
            )
        at = self._positions(ids)
        return Cameras(joined.w2c[at], joined.K[at], self._metric)

    def intrinsics(self, ids: Sequence[int]) -> np.ndarray | None:
        """From the camera file, a file of their own, or the option."""
        known = self._intrinsics
        return None if known is None else known[self._positions(ids)]

    def depth(self, frame_id: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Depth of a frame from its png, and K scaled to the map's size (or ScanNet's `intrinsic_depth.txt`).

        `SceneError` where the poses have no scale: metres do not fit them.
        """
        from smx.datasets._posed_scan import resized_K

        position = int(self._positions([frame_id])[0])
        K = self._intrinsics
        found = None if K is None else self._upright_depth(position)
        if found is None or K is None:
            return None
        if self._joined is not None and not self._metric:
            raise SceneError(
                f"scene {self.id!r}: depth is in metres, the poses of {self._joined.file} have no scale;"
                " the dataset's option metric=true says that they are metres, too"
            )
        metres, own = found
        size = (metres.shape[1], metres.shape[0])
        if own is None:
            own = resized_K(K[position], (self.width, self.height), size, self._depth_files[position])
        return metres, own

    def depth_map(self, frame_id: int) -> np.ndarray | None:
        """Depth alone, upright."""
        found = self._upright_depth(int(self._positions([frame_id])[0]))
        return None if found is None else found[0]

    def source(self) -> dict[str, Any]:
        """Origin of the frames, and which camera format and depth were found; what of them cannot be read."""
        return {**self._media.source(), "cameras": self._camera_note(), "depth": self._depth_note()}

    def remarks(self) -> list[str]:
        """Poses that were not taken, and files beside the frames that are of no format that is read."""
        from smx.datasets._poses import dropped_poses

        try:
            joined = self._joined
        except SceneError:
            return list(self._layout.unread)  # said by whoever asks for cameras
        lines = [] if joined is None else dropped_poses(joined.dropped, self._base)
        return [*lines, *self._layout.unread]

    def _camera_note(self) -> dict[str, Any] | None:
        from smx.datasets._poses import relative

        try:
            joined = self._joined
        except SceneError as error:
            return {"unread": relative(str(error), self._base)}
        if joined is None:
            return None
        dropped = {"dropped": len(joined.dropped)} if joined.dropped else {}
        bent = {"distortion": self._options.distortion} if self._options.distortion != "refuse" else {}
        return {"format": joined.format, "file": joined.file, "matched_by": joined.matched_by, **dropped, **bent}

    def _depth_note(self) -> int | dict[str, Any]:
        from smx.datasets._poses import relative

        try:
            return len(self._depth_files)
        except SceneError as error:
            return {"unread": relative(str(error), self._base)}

    def _upright_depth(self, position: int) -> tuple[np.ndarray, np.ndarray | None] | None:
        """(metres, the map's own K where a file has it) of a frame, turned as it is."""
        from smx.datasets._frame_reader import read_depth
        from smx.datasets._turned_cameras import upright_depth
        from smx.geometry.lenses import undistorted

        path = self._depth_files.get(position)
        if path is None:
            return None
        metres = read_depth(path, self._options.depth_scale, self._whole_depth_scale)
        if (lens := self._lens(position)) is not None:
            metres = undistorted(metres, lens, nearest=True)
        return upright_depth(
            metres, self._depth_intrinsics, int(self._media.turns[position]), (self.width, self.height)
        )

    def _lens(self, position: int) -> Lens | None:
        """What the picture and the depth of a frame are undistorted with."""
        if self._options.distortion != "undistort" or self._joined is None or self._joined.lenses is None:
            return None
        return self._joined.lenses[position]

    @property
    def _whole_depth_scale(self) -> float:
        """TUM's benchmark, and what is laid out like it (ETH3D SLAM, Bonn), has 5,000 units to the metre."""
        if self._layout.capture is not None:
            return self._layout.capture.depth_scale
        lists = [self._base / name for name in ("rgb.txt", "depth.txt")]
        return 5000.0 if all(path.is_file() for path in lists) else 1000.0

    @property
    def _metric(self) -> bool:
        stated = self._options.metric
        return stated if stated is not None else self._joined is None or self._joined.metric

    @property
    def _base(self) -> Path:
        """The scene's folder, or the one of its video."""
        layout = self._layout
        assert layout.base is not None or layout.video is not None
        return layout.base or layout.video.parent  # type: ignore[union-attr]  # one of the two is there

    @cached_property
    def _joined(self) -> Joined | None:
        from smx.datasets._poses import join

        options = self._options
        return join(self._layout, self._media, options.poses, options.intrinsics, options.distortion)

    @cached_property
    def _intrinsics(self) -> np.ndarray | None:
        """[N, 3, 3] in pixels of the frames, with or without poses."""
        from smx.datasets._poses import stated_intrinsics

        if self._joined is not None:
            return self._joined.K
        return stated_intrinsics(self._layout, self._media, self._options.intrinsics)

    @cached_property
    def _depth_intrinsics(self) -> np.ndarray | None:
        from smx.geometry.poses import read_intrinsics

        path = self._layout.base / "intrinsic" / "intrinsic_depth.txt" if self._layout.base else None
        return read_intrinsics(path)[0] if path is not None and path.is_file() else None

    @cached_property
    def _depth_files(self) -> dict[int, Path]:
        """Position of a frame -> its depth map."""
        from smx.datasets._poses import match_depth

        if not self._layout.depth:
            return {}
        return match_depth(numbered(self._layout.depth), self._media, self._layout)

    def _positions(self, ids: Sequence[int]) -> np.ndarray:
        import numpy as np

        wanted = np.asarray(ids, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.frame_ids, wanted), len(self.frame_ids) - 1)
        absent = wanted[self.frame_ids[at] != wanted]
        if len(absent):
            raise SceneError(f"{self.id}: there is no frame {absent[0]}")
        return at


def _inputs(place: Path, options: Dataset) -> dict[str, str]:
    """File -> digest of what opening the scene at `place` may read, and what is said of files that are not read."""
    from smx.datasets._poses import beside

    if is_record3d(place):
        from smx.datasets._record3d import files_of

        return inputs_of(ReadFiles(*files_of(place)), folder_of(place))
    try:
        layout = look(place, options.prefer)
    except NoScene:  # an empty scene: it fails alone when it is opened
        return {}
    try:
        cameras, many = beside(layout, options.poses)
    except SceneError:  # of no such format: it fails alone, too
        cameras, many = [], []
    lists = [layout.base / name for name in ("rgb.txt", "depth.txt")] if layout.base else []  # whose depth is TUM's
    files = ReadFiles(
        [layout.video] if layout.video else [], [*cameras, *lists], [*layout.images, *layout.depth, *many]
    )
    return inputs_of(files, folder_of(place)) | ({"unread": "; ".join(layout.unread)} if layout.unread else {})
