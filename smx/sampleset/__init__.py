"""A sample set on disk: per scene the chosen frames, their cameras, pairs, overlap and coverage.

    samples/<sampler>/<n>f-<fingerprint8>/
        index.jsonl                         scenes done and failed, one line each
        <dataset>/<scene>/
            frame_<position>_<frame id>.png n files, in list order
            cameras.npz                     w2c [n,4,4] float64 (OpenCV axes), K [n,3,3] of the written frames, metric;
                                            pose_enc [n,9] where a network made them
            voxels.npz                      what each frame sees of the scene's voxels, where that is known
            sample.json                     everything else

A scene's folder appears whole or not at all: it is made under a temporary name beside and renamed. Its bytes
depend on the scene, the sampler and the seed alone (no clock, no absolute path).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import socket
import traceback
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from smx.digests import inputs_digest
from smx.errors import SceneError, UserError

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 1
RECORD, CAMERAS, VOXELS, INDEX = "sample.json", "cameras.npz", "voxels.npz", "index.jsonl"


def folder(root: Path, sampler: str, n: int, fingerprint8: str, dataset: str, scene: str) -> Path:
    """Where a scene's sample is. `UserError` for a name that could leave `root` or hide in it."""
    place = set_folder(root, sampler, n, fingerprint8)
    return place / _safe(dataset, "dataset", nested=False) / _safe(scene, "scene", nested=True)


def set_folder(root: Path, sampler: str, n: int, fingerprint8: str) -> Path:
    """Where a sample set and its index are."""
    return root / _safe(sampler, "sampler", nested=False) / _safe(f"{n}f-{fingerprint8}", "fingerprint", nested=False)


@dataclass(frozen=True)
class Sample:
    """One scene's sample, read back. Lists have length n and are in list order; pairs are positions 2k, 2k+1."""

    folder: Path
    record: dict[str, Any]  # sample.json

    @property
    def scene(self) -> str:
        """Scene id."""
        return str(self.record["scene"])

    @property
    def ids(self) -> list[int]:
        """Raw frame ids."""
        return [int(i) for i in self.record["ids"]]

    @property
    def fill(self) -> list[bool]:
        """True where a frame only fills up to n."""
        return [bool(f) for f in self.record["fill"]]

    @property
    def timestamps(self) -> np.ndarray:
        """[n] float64 seconds, NaN where they are unknown."""
        import numpy as np

        known = self.record["timestamps"]
        return np.full(len(self.ids), np.nan) if known is None else np.asarray(known, dtype=np.float64)

    @property
    def duration(self) -> float | None:
        """Seconds of the clip that frames were chosen from: its frames over their rate; None where one is unknown."""
        frames, fps = (self.record["source"].get(key) for key in ("frames", "fps"))
        return frames / fps if frames and fps else None

    @property
    def pairs(self) -> list[dict[str, Any]]:
        """n/2 times `{"ids": [a, b], "overlap": float | None, "iou": float | None}`."""
        return list(self.record["pairs"])

    @property
    def coverage(self) -> float | None:
        """Share of the candidates' voxels that the frames see."""
        return None if self.record["coverage"] is None else float(self.record["coverage"])

    @property
    def files(self) -> list[Path]:
        """The frames' files."""
        return [self.folder / name for name in self.record["files"]]

    @cached_property
    def _cameras(self) -> dict[str, np.ndarray]:
        return self._arrays(CAMERAS)

    @property
    def w2c(self) -> np.ndarray | None:
        """[n, 4, 4] float64 world to camera, OpenCV axes; NaN where a pose was lost; None without cameras."""
        return self._cameras.get("w2c")

    @property
    def K(self) -> np.ndarray | None:
        """[n, 3, 3] float64, pixels of the frames as written."""
        return self._cameras.get("K")

    @property
    def pose_enc(self) -> np.ndarray | None:
        """[n, 9] what the network that made the cameras said of them; None where none did."""
        return self._cameras.get("pose_enc")

    @property
    def voxels(self) -> dict[str, np.ndarray] | None:
        """What `SceneView.seen` tells of the frames; None where it is unknown, or was not kept by an older smx."""
        return self._arrays(VOXELS) if (self.folder / VOXELS).exists() else None

    @property
    def metric(self) -> bool:
        """Whether camera translations are metres."""
        return bool(self._cameras["metric"]) if "metric" in self._cameras else False

    def frames(self) -> np.ndarray:
        """[n, H, W, 3] uint8 RGB. `SceneError` for a frame that cannot be read or has another size."""
        import numpy as np
        from PIL import Image

        frames = []
        for name in self.record["files"]:
            try:
                with Image.open(io.BytesIO(self.content(name))) as image:
                    frames.append(np.asarray(image.convert("RGB")))
            except OSError as error:
                raise _damaged(self.folder, f"{name}: {error}") from error
        if len({frame.shape for frame in frames}) > 1:
            raise _damaged(self.folder, "its frames have different sizes")
        return np.stack(frames)

    def content(self, name: str) -> bytes:
        """A file of the sample. `SceneError` where it is not what was written."""
        try:
            data = (self.folder / name).read_bytes()
        except OSError as error:
            raise _damaged(self.folder, f"{name}: {error.strerror}") from error
        written = self.record.get("written", {}).get(name)  # older samples do not say
        if written is not None and written != _written(data):
            raise _damaged(self.folder, f"{name} is not what was written")
        return data

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        import numpy as np

        try:
            with np.load(io.BytesIO(self.content(name)), allow_pickle=False) as stored:
                return {array: stored[array] for array in stored.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _damaged(self.folder, f"{name}: {error}") from error


def read(folder: Path) -> Sample:
    """The sample in `folder`. `SceneError` when it is missing or damaged, `UserError` when a newer smx made it."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        lacking = _lacking(folder, record)
        whole = len(record["files"]) == len(record["ids"]) == len(record["fill"]) == 2 * len(record["pairs"])
        schema = int(record["schema"])
    except FileNotFoundError:
        raise SceneError(f"no sample at {folder}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{RECORD}: {error!r}") from error
    if schema > SCHEMA:
        raise UserError(f"{folder / RECORD} has schema {schema}, this smx reads {SCHEMA}", "upgrade smx")
    if lacking:
        raise _damaged(folder, lacking)
    if not whole:
        raise _damaged(folder, f"{RECORD} does not list as many frames as pairs")
    return Sample(folder, record)


def read_record(folder: Path) -> dict[str, Any]:
    """`sample.json` of `folder`, without looking at the frames."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{RECORD}: {error}") from error
    if not isinstance(record, dict):
        raise _damaged(folder, f"{RECORD} holds no object")
    return record


def is_complete(folder: Path) -> bool:
    """Whether a sample is there, and every file of it is what was written."""
    return _whole_record(folder) is not None


def is_kept(folder: Path, data: str) -> bool:
    """Whether a whole sample is there that was made from files of this digest (`smx.digests.inputs_digest`).

    Cameras are read, and what has changed since the sample was written; of other files, the size is looked at.
    """
    try:
        sample = read(folder)
        made = (folder / RECORD).stat().st_mtime_ns  # it was written last
        for name in sample.record.get("written", ()):
            if name == CAMERAS or (folder / name).stat().st_mtime_ns > made:
                sample.content(name)
    except (SceneError, OSError):
        return False
    return inputs_digest(sample.record.get("source", {}).get("inputs", {})) == data


def make_room(folder: Path, same: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the sample that is there, where it is whole and has these values; else None, and `folder` is free.

    A whole sample with other values (made from other data) is set aside, hidden beside it: the run that made it stands
    and finds it again. One that was set aside and has these values is put back. What is damaged is written over.
    """
    record = _whole_record(folder)
    if record is not None:
        if _has(record, same):
            return record
        aside = _aside(folder, {key: record.get(key) for key in same})
        shutil.rmtree(aside, ignore_errors=True)  # the same sample, byte for byte
        with contextlib.suppress(FileNotFoundError):  # another process is at it
            folder.rename(aside)
    aside = _aside(folder, same)
    record = _whole_record(aside)
    if record is None or not _has(record, same):
        return None
    try:
        aside.rename(folder)
    except OSError:  # another process was faster, or what is there is damaged
        return None
    return record


def _whole_record(folder: Path) -> dict[str, Any] | None:
    """`sample.json` of a sample all of whose files are as they were written."""
    try:
        sample = read(folder)
        for name in sample.record.get("written", ()):
            sample.content(name)
    except SceneError:
        return None
    return sample.record


def _has(record: Mapping[str, Any], same: Mapping[str, Any]) -> bool:
    return all(record.get(key) == value for key, value in same.items())


def _aside(folder: Path, same: Mapping[str, Any]) -> Path:
    return folder.with_name(f".{folder.name}.{inputs_digest(same)[:16]}.aside")


def write(
    folder: Path,
    record: dict[str, Any],
    frames: Iterable[tuple[int, np.ndarray]],
    w2c: np.ndarray | None,
    K: np.ndarray | None,
    metric: bool,
    image: Literal["png", "jpg"] = "png",
    pose_enc: np.ndarray | None = None,
    voxels: Mapping[str, np.ndarray] | None = None,
) -> Sample:
    """Write a sample, or adopt the complete one that is already there.

    `record` needs `ids` (the order of the files); added are `schema`, `files` and `written`: each file's size and
    sha256. `frames`: (id, uint8
    [H, W, 3]) of every distinct id, in any order; each is written as it comes. `voxels`: `SceneView.seen(ids)`.
    """
    if is_complete(folder):
        return read(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    temporary = folder.parent / f".{folder.name}.{socket.gethostname()}.{os.getpid()}.tmp"
    try:
        temporary.mkdir()
        ids = [int(i) for i in record["ids"]]
        files = [f"frame_{position:03d}_{frame_id:06d}.{image}" for position, frame_id in enumerate(ids)]
        _write_frames(temporary, ids, files, frames, image)
        _write_file(temporary / CAMERAS, _npz(w2c, K, metric, pose_enc))
        if voxels is not None:
            _write_file(temporary / VOXELS, _compressed(voxels))
        written = {path.name: _written(path.read_bytes()) for path in sorted(temporary.iterdir())}
        whole = {"schema": SCHEMA, **record, "files": files, "written": written}
        _write_file(temporary / RECORD, (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode())
        _sync(temporary)
        _move_into_place(temporary, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return read(folder)


def record_done(root: Path, dataset: str, scene: str, summary: dict[str, Any]) -> None:
    """Append to the index of the sample set `root` (`samples/<sampler>/<n>f-<fingerprint8>`)."""
    _append(root / INDEX, {"dataset": dataset, "scene": scene, "state": "done", **summary})


def record_failed(root: Path, dataset: str, scene: str, error: BaseException) -> None:
    """Append a scene that could not be sampled: what was wrong, and a digest of the traceback to group by."""
    trace = "".join(traceback.format_tb(error.__traceback__))
    digest = hashlib.sha256(trace.encode()).hexdigest()[:16]
    _append(
        root / INDEX,
        {"dataset": dataset, "scene": scene, "state": "failed", "error": str(error), "traceback": digest},
    )


def index(root: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """(dataset, scene) -> newest line of the index. A torn line is ignored."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in (root / INDEX).read_bytes().splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                newest[entry["dataset"], entry["scene"]] = entry
    return newest


def samples(root: Path) -> Iterator[Path]:
    """Folders of every sample under `root`, sorted; what is half-written (a hidden folder) is left out."""
    for path in sorted(root.rglob(RECORD)):
        if not any(part.startswith(".") for part in path.relative_to(root).parts):
            yield path.parent


def _safe(name: str, what: str, *, nested: bool) -> str:
    """`name`, if every part of it is a plain visible file name."""
    parts = name.split("/") if nested else [name]
    plain = all(p and not p.startswith(".") and "/" not in p and "\\" not in p and p.isprintable() for p in parts)
    if not plain or PurePosixPath(name).is_absolute() or max(len(p.encode()) for p in parts) > 200:
        raise UserError(
            f"{what} {name!r} cannot name a folder",
            "use letters, digits, '-', '_' and '.'; no '..', leading '.' or control character",
        )
    return name


def _lacking(folder: Path, record: Mapping[str, Any]) -> str:
    """Which of its files is not there, or not of the size that was written; "" where all are."""
    sizes = dict.fromkeys((*record["files"], CAMERAS)) | {n: w[0] for n, w in record.get("written", {}).items()}
    for name, size in sizes.items():
        try:
            there = (folder / name).stat().st_size
        except FileNotFoundError:
            return f"{name} is missing"
        if size not in (None, there):
            return f"{name} has {there} bytes of {size}"
    return ""


def _written(data: bytes) -> list[Any]:
    """[bytes, sha256]."""
    return [len(data), hashlib.sha256(data).hexdigest()]


def _damaged(folder: Path, why: str) -> SceneError:
    return SceneError(f"the sample at {folder} is damaged ({why}); delete the folder and make it again")


def _write_frames(
    place: Path, ids: list[int], files: list[str], frames: Iterable[tuple[int, np.ndarray]], image: str
) -> None:
    from PIL import Image

    wanted = dict.fromkeys(ids)
    for frame_id, pixels in frames:
        if frame_id not in wanted:
            continue
        del wanted[frame_id]
        data = io.BytesIO()
        if image == "png":
            Image.fromarray(pixels).save(data, format="PNG", compress_level=1)  # a fifth larger, four times as fast
        else:
            Image.fromarray(pixels).save(data, format="JPEG", quality=95)
        for name, its_id in zip(files, ids, strict=True):
            if its_id == frame_id:
                _write_file(place / name, data.getvalue())
    if wanted:
        raise SceneError(f"frame {next(iter(wanted))} was not decoded")


def _npz(w2c: np.ndarray | None, K: np.ndarray | None, metric: bool, pose_enc: np.ndarray | None) -> bytes:
    """An uncompressed npz; numpy dates its members 1980, so equal arrays are equal bytes."""
    import numpy as np

    arrays = {"metric": np.array(metric)}
    if w2c is not None:
        arrays["w2c"] = np.asarray(w2c, dtype=np.float64)
    if K is not None:
        arrays["K"] = np.asarray(K, dtype=np.float64)
    if pose_enc is not None:
        arrays["pose_enc"] = np.asarray(pose_enc)
    data = io.BytesIO()
    np.savez(data, **arrays)  # type: ignore[arg-type]
    return data.getvalue()


def _compressed(arrays: Mapping[str, np.ndarray]) -> bytes:
    import numpy as np

    data = io.BytesIO()
    np.savez_compressed(data, **arrays)  # type: ignore[arg-type]
    return data.getvalue()


def _write_file(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _move_into_place(temporary: Path, folder: Path) -> None:
    """Rename; a complete sample made meanwhile by another process stays, a damaged one is replaced."""
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        if not is_complete(folder):
            old = temporary.with_suffix(".old.tmp")
            folder.rename(old)
            temporary.rename(folder)
            shutil.rmtree(old, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """Temporary folders of this scene whose process, on this host, is gone (it was killed).

    One with our own number is a predecessor's too: in a container, a process may be given the same every time.
    """
    prefix = f".{folder.name}.{socket.gethostname()}."
    for path in folder.parent.iterdir():
        if path.name.startswith(prefix) and path.name.endswith(".tmp"):
            pid = path.name[len(prefix) :].split(".")[0]
            if pid.isdigit() and (int(pid) == os.getpid() or not Path(f"/proc/{pid}").exists()):
                shutil.rmtree(path, ignore_errors=True)


def _append(path: Path, entry: dict[str, Any]) -> None:
    """One line in one write, on a line of its own even after a torn one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
    with path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        torn = size > 0 and (file.seek(size - 1), file.read(1))[1] != b"\n"
        file.write(b"\n" + line if torn else line)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
