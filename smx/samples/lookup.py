"""Find what a user means by SET and SCENE among the sample sets of a workspace."""

from __future__ import annotations

import re
from pathlib import Path

from smx import sampleset
from smx.errors import UserError, unknown

FORMS = "SET is SAMPLER/FRAMES (sa/16), SAMPLER/FRAMESf-FINGERPRINT (sa/16f-1a2b3c4d), or the path of a sample set"


def find_sets(root: Path, name: str) -> list[Path]:
    """Folders of the sample sets that `name` means: `sa/16`, `sa/16f`, `sa/16f-1a2b3c4d`, or a path. At least one."""
    given = Path(name).expanduser()
    if given.is_dir() and any(sampleset.samples(given)):
        return [given]
    there = {f"{place.parent.name}/{place.name}": place for place in sorted(root.glob("*/*f-*")) if place.is_dir()}
    sampler, _, rest = name.partition("/")
    start = f"{sampler}/{rest}" + ("f-" if rest.isdigit() else "")
    found = [place for key, place in there.items() if key.startswith(start)] if rest else []
    if not found:
        if not there:
            raise UserError(f"no sample set {name!r}: there is none under {root}", "smx gen --sampler sa --frames 16")
        raise unknown("sample set", name, {re.sub(r"f-.*", "", key) for key in there}, FORMS)
    return found


def find_sample(root: Path, name: str, scene: str) -> Path:
    """Folder of one scene's sample. `UserError` where no set that is meant has it, or several do."""
    sets = find_sets(root, name)
    found = [folder for place in sets for folder in sampleset.samples(place) if _is(folder, place, scene)]
    if len(found) > 1:
        names = [str(folder.relative_to(root) if folder.is_relative_to(root) else folder) for folder in found]
        raise UserError(f"{len(found)} samples are {scene!r} of {name!r}: {', '.join(names)}", f"name one. {FORMS}")
    if not found:
        scenes = {_scene(folder, place) for place in sets for folder in sampleset.samples(place)}
        if failed := _failed(sets, scene):
            raise UserError(f"scene {scene!r} of {name!r} could not be sampled: {failed}", "smx gen makes it again")
        raise unknown("scene", scene, scenes, f"sample set {name}")
    return found[0]


def samples_of(root: Path, name: str) -> dict[str, Path]:
    """ "<dataset>/<scene>" -> folder, of the one set that is meant. `UserError` where several are."""
    sets = find_sets(root, name)
    if len(sets) > 1:
        names = [f"{place.parent.name}/{place.name}" for place in sets]
        raise UserError(f"{len(sets)} sample sets are {name!r}: {', '.join(names)}", f"name one. {FORMS}")
    return {folder.relative_to(sets[0]).as_posix(): folder for folder in sampleset.samples(sets[0])}


def _is(folder: Path, place: Path, scene: str) -> bool:
    whole = folder.relative_to(place).as_posix()
    return scene in (whole, whole.partition("/")[2])


def _scene(folder: Path, place: Path) -> str:
    return folder.relative_to(place).as_posix().partition("/")[2]


def _failed(sets: list[Path], scene: str) -> str | None:
    """Why the scene failed, where the index of a set says so."""
    for place in sets:
        for (dataset, name), entry in sampleset.index(place).items():
            if scene in (name, f"{dataset}/{name}") and entry.get("state") == "failed":
                return str(entry.get("error", ""))
    return None
