"""VGGT as the geometry of a scene: cameras and world points of frames, in the first candidate's camera frame.

Frames are prepared as the reference does: width 518, height to the nearest multiple of 14, cropped to 518 about the
middle. All candidates go through one pass, as in the reference, as long as `together` allows; further frames (and
candidates beyond it) come in later passes, which share frames with the first and are moved into its world by them.
Within a pass everything but attention over all frames is done a few frames at a time, which changes no number.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from smx.errors import SceneError
from smx.geometry import pose_encoding
from smx.geometry.align import similarity
from smx.geometry.cameras import inverse
from smx.geometry.source import PointMap
from smx.geometry.view import GeometryOptions
from smx.models._spatial_mllm.tensors import read
from smx.models._vggt.checkpoint import read_config
from smx.models._vggt.dense_head import DenseHead
from smx.models._vggt.network import Aggregator, CameraHead
from smx.models._vlm.loading import named_dtype
from smx.models._vlm.preprocess import resize

SIDE = 518  # width of what VGGT sees, and its greatest height
SHARED = 8  # frames that a later pass shares with the first
FEW = 8  # frames at a time where frames do not see each other
LEAST_SHARED = 100  # points that a later pass is moved by, at least


Views = tuple[np.ndarray, Sequence[np.ndarray], Sequence[np.ndarray]]


class Found(NamedTuple):
    """What VGGT made of one frame, in the world of the first candidate."""

    encoding: np.ndarray  # [9], of the picture that VGGT saw
    points: np.ndarray  # [h, w, 3] float32
    confidence: np.ndarray  # [h, w] float32


class Cameras(NamedTuple):
    """`smx.geometry.source.CamerasLike`."""

    w2c: np.ndarray
    K: np.ndarray
    metric: bool
    pose_enc: np.ndarray


class Network:
    """The parts of VGGT that make cameras and points, on one device. Scenes come one after the other."""

    def __init__(self, folder: Path, head: str, precision: str, device: str) -> None:
        self.config, prefix = read_config(folder)
        self.device = device
        with torch.device("meta"):
            self.aggregator = Aggregator(self.config, self.config.depth)
            self.camera_head = CameraHead(self.config)
            self.dense_head = DenseHead(self.config, head)
        parts: dict[str, Any] = {"aggregator": self.aggregator, "camera_head": self.camera_head, head: self.dense_head}
        for part, module in parts.items():
            name = f"{prefix}{part}."
            weights = {key.removeprefix(name): value for key, value in _weights(folder, name)}
            weights.pop("patch_embed.mask_token", None)
            module.load_state_dict(weights, assign=True)
            module.to(device=device, dtype=named_dtype(precision) if part == "aggregator" else torch.float32).eval()
        self.running = threading.Lock()

    def see(self, images: np.ndarray) -> Views:
        """[S, H, W, 3] uint8 → encodings [S, 9], S maps [H, W, C] and S confidences [H, W].

        Each map is memory of its own, which goes when its frame is forgotten. `SceneError` where the GPU has no room
        for so many frames.
        """
        try:
            return self._see(images)
        except torch.OutOfMemoryError as error:
            fewer = len(images) // 2
            raise SceneError(
                f"VGGT over {len(images)} frames does not fit the GPU: --set geometry.together={fewer}"
            ) from error

    @torch.inference_mode()
    def _see(self, images: np.ndarray) -> Views:
        read_layers = {self.config.depth - 1, *self.config.dpt_layers}
        with self.running:
            tokens = self.aggregator(self._on_device(images)[None], read_layers, few=FEW)
            encodings = self.camera_head(tokens[self.config.depth - 1][:, :, 0])[0]
            maps: list[np.ndarray] = []
            confidences: list[np.ndarray] = []
            for k in range(0, len(images), FEW):
                layers = [tokens[layer][0, k : k + FEW] for layer in self.config.dpt_layers]
                values, confidence = self.dense_head(layers, (images.shape[1], images.shape[2]))
                maps += [each.copy() for each in values.cpu().numpy()]
                confidences += [each.copy() for each in confidence.cpu().numpy()]
        return encodings.double().cpu().numpy(), maps, confidences

    def _on_device(self, images: np.ndarray) -> Tensor:
        """[S, 3, H, W] float32 in 0..1. Beside a GPU the host never holds them all as floats."""
        found = torch.empty(images.shape, device=self.device)
        for k in range(0, len(images), FEW):
            found[k : k + FEW] = torch.from_numpy(images[k : k + FEW]).float() / 255
        return found.permute(0, 3, 1, 2)


class VGGTSource:
    """`smx.geometry.source.GeometrySource` of one scene."""

    def __init__(
        self, network: Callable[[], Network], scene: Any, candidates: np.ndarray, options: GeometryOptions
    ) -> None:
        self._network, self._scene, self._options = network, scene, options
        self._candidates: list[int] = [int(frame_id) for frame_id in candidates]
        self._turned = options.reference_rotation and scene.height > scene.width
        self._found: dict[int, Found] = {}
        self._encodings: dict[int, np.ndarray] = {}  # kept when the points are forgotten
        self._first: list[int] = []  # frames of the first pass
        self._joints: dict[int, Found] = {}  # those of them that later passes share

    def cameras(self, ids: Sequence[int]) -> Cameras:
        """In the first candidate's frame and the clip's unit; `pose_enc` of the pictures as VGGT saw them."""
        self._see([int(i) for i in ids if int(i) not in self._encodings])
        encodings = np.stack([self._encodings[int(i)] for i in ids])
        w2c, K = pose_encoding.decode(encodings, self._size)
        cameras = [self._as_decoded(*camera) for camera in zip(w2c, K, strict=True)]
        poses, intrinsics = (np.stack(each) for each in zip(*cameras, strict=True))
        return Cameras(poses, intrinsics, False, encodings)

    def point_map(self, frame_id: int) -> PointMap:
        """Of the network's size, not the frame's."""
        if frame_id not in self._found:
            self._see([frame_id])
        return PointMap(self._found[frame_id].points, self._found[frame_id].confidence)

    def forget(self, frame_id: int) -> None:
        """Drop its points; its camera stays."""
        self._found.pop(frame_id, None)

    def record(self) -> dict[str, Any]:
        """The world frame, and whose weights made it."""
        return {"reference_frame": f"camera of frame {self._candidates[0]}", "checkpoint": self._options.content}

    def _see(self, wanted: list[int]) -> None:
        """Cameras and points of `wanted`: with all candidates in the first pass, joined to it in later ones."""
        if not wanted:
            return
        if not self._first:
            spread = np.linspace(0, len(self._candidates) - 1, min(self._options.together, len(self._candidates)))
            self._first = [self._candidates[k] for k in spread.astype(np.int64)]
            self._take(self._first, self._pass(self._first))
            shared = np.linspace(0, len(self._first) - 1, min(SHARED, self._options.together // 2, len(self._first)))
            self._joints = {self._first[k]: self._found[self._first[k]] for k in shared.astype(np.int64)}
        left = [i for i in dict.fromkeys(wanted) if i not in self._found]
        room = self._options.together - len(self._joints)
        for k in range(0, len(left), room):
            self._join(left[k : k + room])

    def _join(self, more: list[int]) -> None:
        ids = [*self._joints, *(i for i in more if i not in self._joints)]
        found = dict(zip(ids, self._pass(ids), strict=True))
        move = _move([found[i] for i in self._joints], list(self._joints.values()), self._scene.id)
        self._take(more, [self._joints[i] if i in self._joints else move.of(found[i]) for i in more])

    def _take(self, ids: Sequence[int], found: Sequence[Found]) -> None:
        for frame_id, each in zip(ids, found, strict=True):
            self._found[frame_id] = each
            self._encodings.setdefault(frame_id, each.encoding)

    def _pass(self, ids: list[int]) -> list[Found]:
        """What one pass over `ids` gives, in the frame of the first of them."""
        encodings, maps, confidences = self._network().see(self._images(ids))
        try:
            w2c, K = pose_encoding.decode(encodings, self._size)
        except SceneError as error:
            raise SceneError(f"scene {self._scene.id!r}: {error}") from None
        found = []
        for k, (encoding, seen, confidence) in enumerate(zip(encodings, maps, confidences, strict=True)):
            points = seen if seen.shape[-1] > 1 else lift(seen[None, ..., 0], K[k : k + 1], w2c[k : k + 1])[0]
            found.append(Found(encoding, points.astype(np.float32, copy=False), confidence))
        return found

    def _images(self, ids: list[int]) -> np.ndarray:
        """[S, H, W, 3] uint8 as VGGT sees them, each made as it is decoded."""
        width, height = self._size
        images = np.empty((len(ids), height, width, 3), dtype=np.uint8)
        for frame_id, frame in self._scene.decode(sorted(set(ids))):
            images[np.equal(ids, frame_id)] = prepare(frame, turned=self._turned)
        return images

    def _as_decoded(self, w2c: np.ndarray, K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A camera of what VGGT saw as the camera of the decoded frame: uncropped, of its size, turned back."""
        width, height = self._upright
        wide, high = resized(width, height)
        K = K.copy()
        K[1, 2] += (high - self._size[1]) // 2  # the crop
        K[0] *= width / wide
        K[1] *= height / high
        if not self._turned:
            return w2c, K
        back = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # x = y', y = -x'
        return back @ w2c, np.array([[K[1, 1], 0, K[1, 2]], [0, K[0, 0], width - K[0, 2]], [0, 0, 1]])

    @property
    def _upright(self) -> tuple[int, int]:
        """(width, height) of a frame before it is resized, turned where it is turned."""
        width, height = self._scene.width, self._scene.height
        return (height, width) if self._turned else (width, height)

    @property
    def _size(self) -> tuple[int, int]:
        """(width, height) of what VGGT sees."""
        wide, high = resized(*self._upright)
        return wide, min(high, SIDE)


def resized(width: int, height: int) -> tuple[int, int]:
    """(518, the height that keeps the shape, to a multiple of 14), before the crop. `SceneError` for a line."""
    high = round(height * SIDE / width / 14) * 14
    if not high:
        raise SceneError(f"frames of {width}x{height} are too flat for VGGT: less than 14 of {SIDE} pixels high")
    return SIDE, high


def prepare(frame: np.ndarray, *, turned: bool = False) -> np.ndarray:
    """[H, W, 3] uint8 as VGGT sees it: turned by -90 degrees (clockwise) where asked, resized, cropped."""
    if turned:
        frame = np.rot90(frame, k=-1)
    wide, high = resized(frame.shape[1], frame.shape[0])
    [image] = resize(np.ascontiguousarray(frame)[None], wide, high)
    top = max(0, (high - SIDE) // 2)
    seen: np.ndarray = image[top : top + SIDE]
    return seen


def lift(depth: np.ndarray, K: np.ndarray, w2c: np.ndarray) -> np.ndarray:
    """World points [S, H, W, 3] of depth maps [S, H, W] along the cameras' axes."""
    height, width = depth.shape[1:]
    v, u = np.mgrid[:height, :width]
    rays = np.stack((u, v, np.ones_like(u)), axis=-1) @ np.linalg.inv(K).transpose(0, 2, 1)[:, None]
    c2w = inverse(w2c)
    turned = (rays * depth[..., None]) @ c2w[:, None, :3, :3].transpose(0, 1, 3, 2)
    points: np.ndarray = turned + c2w[:, None, None, :3, 3]
    return points


class Move(NamedTuple):
    """x of a later pass's world is `scale * rotation @ x + shift` in the first's."""

    scale: float
    rotation: np.ndarray
    shift: np.ndarray

    def of(self, found: Found) -> Found:
        [w2c], _ = pose_encoding.decode(found.encoding[None], (1, 1))
        turn = w2c[:3, :3] @ self.rotation.T
        w2c[:3, :3], w2c[:3, 3] = turn, self.scale * w2c[:3, 3] - turn @ self.shift
        points = self.scale * found.points @ self.rotation.T + self.shift
        [encoding] = pose_encoding.encode(w2c[None], found.encoding[None, 7:])
        return found._replace(encoding=encoding, points=points.astype(np.float32))


def _move(there: list[Found], here: list[Found], scene: str) -> Move:
    """What takes the world of a later pass to that of the first, by the points of frames that both have seen.

    The surer half of the points counts, in both.
    """
    pairs = []
    for a, b in zip(there, here, strict=True):
        sure = (a.confidence >= np.median(a.confidence)) & (b.confidence >= np.median(b.confidence))
        pairs.append((a.points[sure].astype(np.float64), b.points[sure].astype(np.float64)))
    source, target = (np.concatenate(each) for each in zip(*pairs, strict=True))
    if len(source) < LEAST_SHARED:
        raise SceneError(f"scene {scene!r}: two passes of VGGT share {len(source)} sure points, too few to join them")
    views = (pose_encoding.decode(np.stack([f.encoding for f in each]), (1, 1))[0] for each in (there, here))
    return Move(*similarity(source, target, *(inverse(w2c)[:, :3, :3] for w2c in views)))


def _weights(folder: Path, start: str) -> Any:
    return read(folder, lambda name: name.startswith(start))
