"""What eval runs said about the frames of one sample, as a table for its page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smx import plugins, sampleset
from smx.benches import BaseBench
from smx.errors import UserError
from smx.monitor.items import items
from smx.registry.rows import excluded_attempts
from smx.registry.store import Registry
from smx.runfolder import RunFolder
from smx.samples.drawing import mixed
from smx.spec import EvalSpec, dataset_label, sample_folder
from smx.workspace import Workspace

WRONG, RIGHT = "#f6c9c4", "#c5e6d6"  # pale: black text stands on them


def answered(registry: Registry, space: Workspace, sample: Path, runs: Sequence[str]) -> str:
    """HTML: a row per question about the scene of the sample at `sample`, a column per run, coloured by score.

    A run that sees nothing fits every sample. `UserError` for a run that looked at other frames, or that has no
    answer about this scene.
    """
    columns = []
    for name in runs:
        row = registry.find(name)
        if row.kind != "eval":
            raise UserError(f"{name!r} is a {row.kind} run and has no answers", "smx ls --kind eval")
        folder = RunFolder(space.runs / row.folder)
        scene = _scene(space, folder, sample)
        excluded = excluded_attempts(registry.attempts(row.fingerprint))
        own = {entry["item"]: entry for entry in items(folder, excluded, ["done"]) if entry["scene"] == scene}
        if not own:
            raise UserError(f"{folder.path.name} has no answer about {scene}", f"smx show {folder.path.name} --items")
        columns.append((folder.path.name, own))
    return _table(columns)


def _scene(space: Workspace, run: RunFolder, sample: Path) -> str:
    """The scene's id in the run's bench. `UserError` where the run looked at another sample of it."""
    spec = EvalSpec.model_validate(run.spec["spec"])
    bench: BaseBench = plugins.load("benches", spec.bench).parse(spec.bench_options, f"bench {spec.bench}")
    scene: str = sampleset.read_record(sample)["scene"]
    if spec.frames:
        label = dataset_label(bench.dataset, bench.dataset_options(), run.spec["plugins"])
        seen = sample_folder(space.samples, spec, label, scene, _data(run, scene), run.spec["plugins"])
        if seen.resolve() != sample.resolve():
            raise UserError(
                f"{run.path.name} did not look at these frames",
                f"it looked at {seen.relative_to(space.samples)}",
            )
    return scene


def _data(run: RunFolder, scene: str) -> str | None:
    """Digest of the files that the scene's sample was made from; None where nothing tells."""
    attempts = run.attempts()
    gen = attempts[-1].plan["paths"].get("gen") if attempts else None
    made = RunFolder(Path(gen)).outcome().done.get(scene) if gen else None
    return None if made is None else str(made["data"].get("inputs", ""))


def _table(columns: Sequence[tuple[str, dict[str, dict[str, Any]]]]) -> str:
    names = "".join(f"<th>{html.escape(name)}</th>" for name, _ in columns)
    lines = [f"<tr><th>question</th><th>type</th><th>truth</th>{names}</tr>"]
    for item in sorted({item for _, own in columns for item in own}):
        entry = next(own[item] for _, own in columns if item in own)
        asked = [entry["question"], *(entry["options"] or ())]
        cells = "".join(_cell(own.get(item)) for _, own in columns)
        truths = " or ".join([entry["truth"], *entry["also"]])
        question = "<br>".join(html.escape(line) for line in asked)
        kind, right = html.escape(entry["type"]), html.escape(truths)
        lines.append(f"<tr><td>{question}</td><td>{kind}</td><td>{right}</td>{cells}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>\n"


def _cell(entry: dict[str, Any] | None) -> str:
    """Raw text; how it was read, and its score, under the mouse."""
    if entry is None:
        return "<td></td>"
    colour = mixed(WRONG, RIGHT, entry["score"])
    read = "unparsed" if entry["parsed"] is None else f"read as {entry['parsed']}"
    about = html.escape(f"{read}; {100 * entry['score']:.0f} by {entry['scorer']}", quote=True)
    return f'<td style="background:{colour}" title="{about}">{html.escape(entry["text"])}</td>'
