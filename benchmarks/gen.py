"""Claim: the CPU side of gen per scene is >= 5 x the obvious way, in <= 1.5 x the memory of its point maps.

One scene: a video of 1,800 frames 640x480 made here. 128 candidates are decoded for a network whose point maps
(518x392, with confidences) are given, voxels are computed, 16 frames chosen by `sa` and written as PNGs with cameras
and overlaps. The obvious way does what the published script does: seek to each candidate, write 128 PNGs, read them
back for the network, choose with Python sets, copy the chosen PNGs. Both must write the same pixels of the same
frames. They alternate; the best time of each counts. Neither is charged for the network.

Memory is the peak of the whole scene over what is given, points with their confidences (`memory`) or points alone
(`memory_points`, which begins at 1.33): about 118 MB are the 128 decoded frames, kept so that the video is decoded
once; the decoder takes most of the rest. What selection itself takes is measured in select_by_coverage.py.

    python benchmarks/gen.py [--save] [--rounds N]
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _record import finish
from PIL import Image
from select_by_coverage import set_greedy, status, walk

from smx import plugins, sampleset, video
from smx.datasets import Cameras
from smx.datasets._video_scene import VideoScene
from smx.geometry.source import PointMap
from smx.geometry.view import GeometryOptions
from smx.node.sampling import make_sample

FRAMES, WIDTH, HEIGHT = 1800, 640, 480
CANDIDATES, N = 128, 16
MAP_HEIGHT, MAP_WIDTH = 392, 518


def main() -> None:
    """Measure, print a table, and the result as JSON on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="add the result to benchmarks/results/gen.json")
    parser.add_argument("--rounds", type=int, default=3, help="times each way is run")
    arguments = parser.parse_args()
    maps = Maps(*walk(CANDIDATES, MAP_HEIGHT, MAP_WIDTH))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        clip = place / "walk.mp4"
        video.write(clip, hand_held(FRAMES), 30)
        smx_way(clip, maps, place / "warm")  # compile, or load what was compiled
        peak = peak_memory(clip, maps, place / "measured")
        seconds: dict[str, list[float]] = {"smx": [], "obvious": []}
        same = True
        for turn in range(arguments.rounds):
            made = {}
            for name, way in (("smx", smx_way), ("obvious", obvious_way)):
                start = time.perf_counter()
                made[name] = way(clip, maps, place / f"{name}-{turn}")
                seconds[name].append(time.perf_counter() - start)
            same &= made["smx"] == made["obvious"] and pixels(place / f"smx-{turn}") == pixels(
                place / f"obvious-{turn}"
            )
    memory, memory_points = peak / maps.nbytes, peak / maps.points.nbytes
    best = {name: min(times) for name, times in seconds.items()}
    ratio = best["obvious"] / best["smx"]
    print(f"{'way':<12}{'seconds':>10}{'ratio':>8}")
    print(f"{'smx':<12}{best['smx']:>10.2f}{1:>8.1f}")
    print(f"{'obvious':<12}{best['obvious']:>10.2f}{ratio:>8.1f}")
    print(f"same frames, same pixels: {same}")
    print(f"peak memory {memory:.2f} x the point maps with confidences, {memory_points:.2f} x the points alone")
    finish(
        {
            "benchmark": "gen",
            "ratio": round(ratio, 1),
            "budget": ">= 5",
            "memory": round(memory, 2),
            "budget_memory": "<= 1.5",
            "memory_points": round(memory_points, 2),
            "megabytes": {"points": maps.points.nbytes >> 20, "confidence": maps.confidence.nbytes >> 20},
            "identical": same,
            "seconds": {name: [round(t, 3) for t in times] for name, times in seconds.items()},
            "fsync": "smx syncs every file, the obvious way none",
        }
    )
    sys.exit(0 if ratio >= 5 and memory <= 1.5 and same else 1)


class Maps:
    """Point maps and confidences of the candidates, as a network leaves them in memory."""

    def __init__(self, points: np.ndarray, confidence: np.ndarray) -> None:
        self.points, self.confidence = points, confidence

    @property
    def nbytes(self) -> int:
        return int(self.points.nbytes + self.confidence.nbytes)


class GivenMaps:
    """A geometry source that decodes the candidates, as a network must, and answers with what was given."""

    def __init__(self, scene: Any, candidates: np.ndarray, maps: Maps) -> None:
        self._scene, self._candidates, self._maps = scene, candidates.tolist(), maps
        self._looked = False

    def cameras(self, ids: Sequence[int]) -> Cameras:
        """Cameras that nothing depends on here."""
        return Cameras(np.stack([np.eye(4)] * len(ids)), np.stack([np.eye(3)] * len(ids)), False)

    def point_map(self, frame_id: int) -> PointMap | None:
        """Given; the frames are looked at first."""
        if not self._looked:
            for _, seen in self._scene.decode(self._candidates):
                assert seen.shape == (HEIGHT, WIDTH, 3)
            self._looked = True
        if frame_id not in self._candidates:
            return None
        row = self._candidates.index(frame_id)
        return PointMap(self._maps.points[row], self._maps.confidence[row])

    def forget(self, frame_id: int) -> None:
        """The maps are given, and stay."""

    def record(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {"reference_frame": "benchmark"}


def smx_way(clip: Path, maps: Maps, folder: Path) -> list[int]:
    """One item of a gen run, without the run."""
    video._index._probe.cache_clear()  # a scene is seen for the first time
    make_sample(
        VideoScene("scannet/walk", clip),
        sampler_name="sa",
        sampler=plugins.load("samplers", "sa")(),
        n=N,
        seed=0,
        geometry=GeometryOptions(),
        folder=folder,
        extra={},
        source_of=lambda scene, candidates: GivenMaps(scene, candidates, maps),
    )
    return sampleset.read(folder).ids


def obvious_way(clip: Path, maps: Maps, folder: Path) -> list[int]:
    """Random seeks, 128 PNGs to disk and back, sets."""
    candidates = np.linspace(0, FRAMES - 1, CANDIDATES).astype(np.int64).tolist()
    temporary = folder.with_name(f"{folder.name}-all")
    temporary.mkdir()
    for frame_id, frame in sought(clip, candidates):
        Image.fromarray(frame).save(temporary / f"frame_{frame_id:04d}.png")
    for path in sorted(temporary.glob("*.png")):
        with Image.open(path) as image:
            assert np.asarray(image).shape == (HEIGHT, WIDTH, 3)
    chosen = [candidates[row] for row in set_greedy(maps.points, maps.confidence, N)]
    folder.mkdir()
    for position, frame_id in enumerate(chosen):
        shutil.copy(temporary / f"frame_{frame_id:04d}.png", folder / f"frame_{position:03d}_{frame_id:06d}.png")
    shutil.rmtree(temporary)
    return chosen


def sought(clip: Path, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Each frame by a seek of its own to the keyframe before it, and decoding from there."""
    import av

    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        step = 1 / stream.average_rate / stream.time_base
        for frame_id in ids:
            container.seek(int(frame_id * step), stream=stream, backward=True)
            for frame in container.decode(stream):
                if round(frame.pts / step) == frame_id:
                    yield frame_id, frame.to_ndarray(format="rgb24")
                    break


def hand_held(frames: int) -> Iterator[np.ndarray]:
    """A camera that pans over a textured wall, with a little noise: as hard to code as a real walk."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (HEIGHT // 16, 4 * WIDTH // 16, 3), dtype=np.uint8)
    wall = np.asarray(Image.fromarray(coarse).resize((4 * WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.int16)
    noise = rng.integers(-6, 7, (8, HEIGHT, WIDTH, 3), dtype=np.int16)
    for i in range(frames):
        left = int((1 + np.sin(i / 120)) / 2 * 3 * WIDTH)
        yield np.clip(wall[:, left : left + WIDTH] + noise[i % 8], 0, 255).astype(np.uint8)


def pixels(folder: Path) -> list[tuple[str, bytes]]:
    """Name and content of every frame written."""
    found = []
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            found.append((path.name, np.asarray(image).tobytes()))
    return found


def peak_memory(clip: Path, maps: Maps, folder: Path) -> int:
    """Most bytes held for one scene, the given point maps with their confidences included (Linux only)."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier scenes freed is not ours to use unseen
    Path("/proc/self/clear_refs").write_text("5")  # reset the high-water mark
    before = status("VmRSS")
    smx_way(clip, maps, folder)
    return maps.nbytes + max(0, status("VmHWM") - before)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
