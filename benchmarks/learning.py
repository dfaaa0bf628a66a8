"""Claim: the tiny model learns. Trained on rooms, it answers questions about rooms it has not seen better than chance.

One `smx run` of an experiment file in a scratch workspace, as a user would type it: five seeds of `tiny` trained
on two types of question about the training scenes, asked those of the test scenes, beside the baselines `chance`
(as many seeds) and `frequency`. A question type counts as learned where the 95 % intervals of both differences,
tiny − chance and tiny − frequency, lie above zero (scorer `official`; bootstrap over scenes and over seeds, the
same questions on both sides).

The two types are those whose words tell something: how long a bed usually is, and that there are more chairs than
lamps in a flat. Knowing that counts as learning: the claim is that training works, not that the model sees,
and so two frames do. In minutes on a CPU a model of this size learns nothing from pictures that would lift a
type above always giving its commonest answer.

`--quick`: two seeds, a third of the steps (no claim). `--model tiny-prope`: another variant. `--keep DIR`: work
there and leave it; a second call goes on where it was. `--save`: keep the result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from _record import finish

from smx.benches._vsi import TYPES
from smx.runfolder import RunFolder, run_folders

ASKED = ["object_size_estimation", "object_counting"]
BENCH = {"scenes": 200, "train_scenes": 400, "frames": 24, "where": {"question_type": ASKED}}
RECIPE = {"steps": 600, "batch": 16, "lr": 1.5e-3, "save_every": 200}
SEEDS, RESAMPLES, NEEDED = 5, 2000, 2
Scores = dict[str, dict[str, np.ndarray]]  # type -> scene -> [seeds, questions]


def main() -> None:
    """Run, print a table, finish with one line of JSON."""
    asked = arguments()
    seeds = list(range(2 if asked.quick else SEEDS))
    recipe = {**RECIPE, "steps": RECIPE["steps"] // 3} if asked.quick else RECIPE
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        place = asked.keep or Path(scratch)
        run(place, asked.model, seeds, recipe)
        scores = {model: read(place / "runs", model) for model in (asked.model, "chance", "frequency")}
    taken = time.monotonic() - began
    table = {kind: compare(scores, asked.model, kind) for kind in TYPES if kind in scores[asked.model]}
    show(table, asked.model)
    above = [kind for kind, row in table.items() if row["above"]]
    means = {model: micro(found) for model, found in scores.items()}
    finish(
        {
            "benchmark": "learning",
            "ratio": round(means[asked.model] / max(means["chance"], means["frequency"]), 3),
            "budget": NEEDED,
            "budget_of": "types_above",
            "types_above": above,
            "met": len(above) >= NEEDED,
            "model": asked.model,
            "seeds": len(seeds),
            "scenes": BENCH["scenes"],
            "train_scenes": BENCH["train_scenes"],
            "recipe": recipe,
            "micro": {model: round(100 * mean, 1) for model, mean in means.items()},
            "types": table,
            "seconds": round(taken),
        }
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Does the tiny model learn?")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--keep", type=Path, default=None)
    for flag in ("--quick", "--save"):
        parser.add_argument(flag, action="store_true")
    return parser.parse_args()


def run(place: Path, model: str, seeds: list[int], recipe: dict[str, Any]) -> None:
    """`smx init` and `smx run` in `place`; two trainings at a time where there are two cores."""
    experiment = {
        "common": {"bench": "rooms", "bench_options": BENCH},
        "groups": {
            "trained": {
                "common": {"sampler": "uniform", "frames": 2},
                "train": {"data": ["rooms"], "data_options": {"rooms": BENCH}, "recipe": recipe},
                "grid": {"model": [model], "seed": seeds},
            },
            "baselines": {"grid": {"model": ["chance"], "seed": seeds}, "list": [{"model": "frequency"}]},
        },
    }
    smx = [sys.executable, "-m", "smx"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*smx, "init", str(place)], check=True, stdout=subprocess.DEVNULL)
    file = place / "experiments" / "learning.yaml"
    file.write_text(json.dumps(experiment), encoding="utf-8")  # JSON is YAML
    command = [*smx, "-w", str(place), "run", str(file), "--executor", "local", "--watch"]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def read(runs: Path, model: str) -> Scores:
    """Official scores of every question, from the items that the model's eval runs recorded."""
    found = sorted((r for r in run_folders(runs) if is_eval(r, model)), key=lambda r: int(r.spec["spec"]["seed"]))
    by_scene: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for one in found:
        for attempt in one.attempts():
            for shard in attempt.shards():
                for record in shard.items():
                    assert record["ok"], record
                    data = record["data"]
                    score = data["scores"]["official"]["score"]
                    by_scene[data["type"]][data["scene"]][record["item"]].append(score)
    return {
        kind: {scene: np.array(list(questions.values())).T for scene, questions in scenes.items()}
        for kind, scenes in by_scene.items()
    }


def is_eval(one: RunFolder, model: str) -> bool:
    return bool(one.spec["kind"] == "eval" and one.spec["spec"]["model"] == model)


def compare(scores: dict[str, Scores], model: str, kind: str) -> dict[str, Any]:
    """Means and 95 % intervals of one type, all in percent: the model's own and its lead over each baseline."""
    mine = scores[model][kind]
    names = list(mine)
    size = np.array([mine[scene].shape[1] for scene in names])
    sums = np.stack([mine[scene].sum(axis=1) for scene in names], axis=1)  # [seeds, scenes]
    others = {
        other: np.array([scores[other][kind][scene].mean(axis=0).sum() for scene in names])
        for other in ("chance", "frequency")
    }
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, len(names), (RESAMPLES, len(names)))
    seeds = rng.integers(0, len(sums), (RESAMPLES, len(sums)))
    drawn = np.stack([sums[s].mean(axis=0) for s in seeds])  # [resamples, scenes], seeds drawn anew
    here = np.take_along_axis(drawn, scenes, axis=1).sum(axis=1)
    total = size[scenes].sum(axis=1)
    row: dict[str, Any] = {
        "n": int(size.sum()),
        "score": percent(sums.mean(axis=0).sum() / size.sum()),
        "interval": interval(here / total),
    }
    for other, theirs in others.items():
        row[other] = percent(theirs.sum() / size.sum())
        row[f"lead_{other}"] = interval((here - theirs[scenes].sum(axis=1)) / total)
    row["above"] = bool(all(row[f"lead_{other}"][0] > 0 for other in others))
    return row


def micro(scores: Scores) -> float:
    """Mean over all questions and seeds."""
    return float(np.concatenate([cell.ravel() for scenes in scores.values() for cell in scenes.values()]).mean())


def interval(values: np.ndarray) -> list[float]:
    return [percent(v) for v in np.quantile(values, (0.025, 0.975))]


def percent(value: float) -> float:
    return round(100 * float(value), 1)


def show(table: dict[str, dict[str, Any]], model: str) -> None:
    """One line a type."""
    print(f"{'type':<28} {'n':>4} {model:>10} {'95 %':>13} {'chance':>7} {'lead':>14} {'freq.':>6} {'lead':>14}  above")
    for kind, row in table.items():
        spans = [f"{low:>+6.1f} {high:>+6.1f}" for low, high in (row["lead_chance"], row["lead_frequency"])]
        own = "{:>6.1f} {:>6.1f}".format(*row["interval"])
        print(
            f"{kind:<28} {row['n']:>4} {row['score']:>10.1f} {own:>13} {row['chance']:>7.1f} {spans[0]:>14} "
            f"{row['frequency']:>6.1f} {spans[1]:>14}  {'both' if row['above'] else ''}"
        )


if __name__ == "__main__":
    main()
