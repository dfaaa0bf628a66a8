"""Lenses of cameras: pinholes, and those whose distortion is refused, left out or undone.

Models and their parameters are COLMAP's (`src/colmap/sensor/models.h`, 4.2): focal length(s), principal point counted
from the pixel's corner, then distortion.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from smx.errors import SceneError
from smx.geometry import _parse as parse
from smx.geometry.cameras import resize_intrinsics

Distortion = Literal["refuse", "leave-out", "undistort"]

# Number of parameters, and how many of them are focal lengths, by COLMAP's number of the model.
_MODELS = {
    "SIMPLE_PINHOLE": (3, 1),
    "PINHOLE": (4, 2),
    "SIMPLE_RADIAL": (4, 1),
    "RADIAL": (5, 1),
    "OPENCV": (8, 2),
    "OPENCV_FISHEYE": (8, 2),
    "FULL_OPENCV": (12, 2),
    "FOV": (5, 2),
    "SIMPLE_RADIAL_FISHEYE": (4, 1),
    "RADIAL_FISHEYE": (5, 1),
    "THIN_PRISM_FISHEYE": (12, 2),
}
MODEL_NAMES = tuple(_MODELS)  # in the order of COLMAP's numbers
_BENT_AT_ZERO = ("OPENCV_FISHEYE", "FOV", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE")
WAYS_OUT = (
    "undistort the images first (`colmap image_undistorter`), or set the option distortion: undistort"
    " (or leave-out, for a lens that bends little)"
)


@dataclass(frozen=True)
class Lens:
    """A camera that is no pinhole, whose pictures are to be undistorted."""

    model: str
    params: tuple[float, ...]
    size: tuple[int, int]  # width, height of the pictures that `params` are for

    @property
    def K(self) -> np.ndarray:
        """[3, 3] of the pinhole that its pictures are brought to: the same focal lengths and principal point."""
        focal = _MODELS[self.model][1]
        cx, cy = self.params[focal : focal + 2]
        return np.array([[self.params[0], 0, cx - 0.5], [0, self.params[focal - 1], cy - 0.5], [0, 0, 1]])


def parameters_of(model: str, where: str) -> int:
    """How many numbers a model of COLMAP has. `SceneError` for one that is not known."""
    if model not in _MODELS:
        raise SceneError(f"{where}: {model} is no pinhole camera, and no lens that is known; {WAYS_OUT}")
    return _MODELS[model][0]


def read_lens(lens: Lens, where: str, distortion: Distortion) -> tuple[np.ndarray, Lens | None]:
    """(K [3, 3], the lens where pictures have to be undistorted). `SceneError` for one that is to be refused."""
    K, bent = lens.K, any(lens.params[_MODELS[lens.model][1] + 2 :])
    parse.each_a_pinhole(K[None], lambda _: where)
    if lens.model in _BENT_AT_ZERO and distortion != "undistort":
        raise SceneError(f"{where}: {lens.model} is no pinhole camera; {WAYS_OUT}")
    if bent and distortion == "refuse":
        raise SceneError(f"{where}: {lens.model} with distortion; {WAYS_OUT}")
    return K, lens if distortion == "undistort" and (bent or lens.model in _BENT_AT_ZERO) else None


def undistorted(pixels: np.ndarray, lens: Lens, *, nearest: bool = False) -> np.ndarray:
    """A picture [H, W, 3] or map [H, W] as the pinhole `lens.K`, resized to it, would have seen it.

    Pictures are interpolated, black where the lens saw nothing; maps (`nearest`) take the nearest pixel, NaN there.
    """
    from scipy.ndimage import map_coordinates

    height, width = pixels.shape[:2]
    rows, columns = _sources(lens, (width, height))
    if nearest:
        moved: np.ndarray = map_coordinates(pixels, [rows, columns], order=0, cval=np.nan)
        return moved
    channels = [map_coordinates(pixels[..., c], [rows, columns], order=1, cval=0) for c in range(pixels.shape[2])]
    return np.stack(channels, axis=-1)


@lru_cache(maxsize=8)
def _sources(lens: Lens, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) [H, W] float32 of the lens's picture that each pixel of the undistorted one is taken from."""
    width, height = size
    K = resize_intrinsics(lens.K, lens.size, size)
    x, y = np.meshgrid((np.arange(width) - K[0, 2]) / K[0, 0], (np.arange(height) - K[1, 2]) / K[1, 1])
    rays = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
    camera = _pycolmap().Camera(model=lens.model, width=lens.size[0], height=lens.size[1], params=np.array(lens.params))
    at = camera.img_from_cam(rays).reshape(height, width, 2) * [width / lens.size[0], height / lens.size[1]] - 0.5
    at[~np.isfinite(at)] = -9  # beyond what the lens model reaches: outside
    return at[..., 1].astype(np.float32), at[..., 0].astype(np.float32)


def _pycolmap() -> Any:
    try:
        import pycolmap
    except ImportError:
        raise SceneError(
            "distortion: undistort needs pycolmap, which is not installed: pip install 'smx[undistort]'"
        ) from None
    return pycolmap
