"""What a run is called in a table: what kind of run it is, and whatever tells it apart from its neighbours.

Runs of one model (or sampler) that differ in more than their seed are rows (or columns) of their own, named by what
they differ in: `mergeaware_sa (window=10)`, `tiny (lr=1e-05)`, `tiny (@28933f5d)`. Specs are read once for all runs
that only their seed tells apart.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from smx.dotted import flat
from smx.errors import unknown
from smx.registry.rows import RunRow
from smx.report.own_code import NOTHING, OwnCode

BASELINES = ("chance", "frequency")  # base models that nobody expects to look at anything
_CHOOSING = ("sampler_options.", "geometry.", "image_format")  # keys of a spec that say how frames are chosen
# Axes of every table, labels of `model_label` and `bench_label`, or another word for one of these.
_ELSEWHERE = {
    *("kind", "model", "sampler", "frames", "seed", "bench", "blind", "input", "frame_order", "imported"),
    *("bench_options.subset", "bench_options.file"),
}
_UNTRAINED = " (untrained)", " (poses untrained)"  # ends of a model's label
OLDER = " (older code)"  # in the label of a model, sampler or bench whose plugin was edited since
_TRAINED = "train:"  # before the fingerprint of the train run whose weights an eval takes


class Input(NamedTuple):
    """What a run was made from. `weights`: digest of a checkpoint, or `train:` and a train run's fingerprint."""

    data: str = ""  # digests of its questions and frames
    weights: str = ""
    code: OwnCode = NOTHING


_NOTHING = Input()


class Known(NamedTuple):
    """What runs that only seeds tell apart have in common, and what tells them apart from others."""

    model: str
    sampler: str | None
    bench: str
    alike: str  # equal for runs that only seeds tell apart
    spec: Mapping[str, Any]  # its spec's leaves by dotted key, and `recipe.*` of its training


def known_runs(
    runs: Iterable[RunRow],
    inputs: Mapping[str, Input],
    trainings: Mapping[str, RunRow],
    axes: Collection[str] = (),
) -> dict[str, Known]:
    """Fingerprint -> what is known of each of `runs`. `axes`: keys of specs that the table shows anyway."""
    kinds: dict[tuple[Any, ...], Known] = {}
    leaves: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    kind_of = {}
    for run in runs:
        given = inputs.get(run.fingerprint, _NOTHING)
        trained = _training(given, trainings)
        weights = trained.seedless or trained.spec if trained else given.weights
        code = _code(given, trained, inputs)
        same = run.seedless or run.spec, weights, words(code)
        kind = (*same, given.data, run.variant, run.sampler, run.bench, run.untrained, run.pose_untrained)
        if kind not in kinds:
            if same not in leaves:
                leaves[same] = _leaves(run, trained, given.weights) | code
            alike = f"{' '.join(same)} {given.data}"
            kinds[kind] = Known(*_labels(run, given.code), alike, leaves[same])
        kind_of[run.fingerprint] = kind
    models = _details(kinds.values(), "model", axes)
    samplers = _details(kinds.values(), "sampler", axes)
    for kind, one in kinds.items():
        place = id(one.spec)
        model = _with(one.model, models.get((one.bench, one.model, place), ""))
        sampler = one.sampler and one.sampler + samplers.get((one.bench, one.sampler, place), "")
        kinds[kind] = one._replace(model=model, sampler=sampler)
    return {fingerprint: kinds[kind] for fingerprint, kind in kind_of.items()}


def seeds_of(run: RunRow, inputs: Mapping[str, Input], trainings: Mapping[str, RunRow]) -> tuple[int, ...]:
    """Seeds of a run, and of the training of its weights."""
    trained = _training(inputs.get(run.fingerprint, _NOTHING), trainings)
    return (run.seed, trained.seed) if trained else (run.seed,)


def value_of(known: Known, key: str) -> Any:
    """What a run's spec says under a dotted key, as tables show it; None where it does not have the key."""
    value = known.spec.get(key)
    return value if value is None or (isinstance(value, int) and not isinstance(value, bool)) else words(value)


def require_keys(keys: Iterable[str], runs: Iterable[Known]) -> None:
    """`UserError` for a key that no spec has."""
    every: set[str] = set().union(*(known.spec for known in runs))
    for key in keys:
        if every and key not in every:
            raise unknown("axis or filter", key, every, "keys of specs: smx show RUN")


def model_label(run: RunRow) -> str:
    """The variant; random weights, and another way of showing it the frames, are part of its name."""
    shown = ["blind"] if run.blind else []
    shown += ["input=frames"] if run.input == "frames" else []
    shown += [run.frame_order] if run.frame_order in ("reversed", "shuffled") else []
    name = f"{run.variant} [{', '.join(shown)}]" if shown else f"{run.variant}"
    return name + (_UNTRAINED[0] if run.untrained else _UNTRAINED[1] if run.pose_untrained else "")


def without_mark(label: str) -> str:
    """A model's label without what is said of its weights' training."""
    return label.removesuffix(_UNTRAINED[0]).removesuffix(_UNTRAINED[1])


def sampler_label(run: RunRow) -> str | None:
    """The sampler; that frames were chosen by another tool and imported is part of its name."""
    return f"{run.sampler} (imported)" if run.imported else run.sampler


def bench_label(run: RunRow) -> str:
    """The bench; a subset of its questions is part of its name, and so is a question file that somebody named."""
    bench = run.bench or "bench not recorded"
    parts = [run.subset] if run.subset else []
    own = bench == (run.question_file or "").rpartition(".")[0]  # a table of somebody's own, which is called after it
    parts += [f"file={run.question_file}"] if run.question_file and not own else []
    parts += _filters(run.where_filter) if run.where_filter else []
    return f"{bench} [{', '.join(parts)}]" if parts else bench


def words(value: Any) -> str:
    """A value of a spec in a label."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _labels(run: RunRow, code: OwnCode) -> tuple[str, str | None, str]:
    """Of its model, sampler and bench, each with a mark where its plugin was edited since."""
    older = {kind: OLDER if code.changed(kind) else "" for kind in ("models", "samplers", "benches", "datasets")}
    sampler = sampler_label(run)
    return (
        _with(model_label(run), older["models"]),
        sampler and sampler + older["samplers"],
        bench_label(run) + (older["benches"] or older["datasets"]),
    )


def _code(given: Input, trained: RunRow | None, inputs: Mapping[str, Input]) -> dict[str, str]:
    """Digests of a lab's own code as leaves of the spec: of its sampler, and of the rest."""
    recorded = dict(given.code.recorded)
    if trained:
        learned = inputs.get(trained.fingerprint, _NOTHING).code.recorded
        recorded |= {f"train.{name}": code for name, code in learned.items() if recorded.get(name) != code}
    leaves = {"samplers": "sampler_options.code", "models": "variant.code", "benches": "bench_options.code"}
    return {
        leaves.get(kind, f"{kind}.code"): code.partition("@")[2][:8]
        for kind, code in ((name.partition("/")[0], code) for name, code in recorded.items())
    }


@lru_cache(maxsize=256)
def _filters(where: str) -> tuple[str, ...]:
    fields = sorted(json.loads(where).items())
    return tuple(f"{key}={'|'.join([v] if isinstance(v, str) else map(str, v))}" for key, v in fields)


def _training(given: Input, trainings: Mapping[str, RunRow]) -> RunRow | None:
    return trainings.get(given.weights.removeprefix(_TRAINED)) if given.weights else None


def _leaves(run: RunRow, trained: RunRow | None, weights: str) -> dict[str, Any]:
    own = flat(json.loads(run.spec))
    if run.kind == "eval":
        own.setdefault("decoding", "greedy")  # as all did before there was a choice
    leaves = {k: v for k, v in own.items() if k not in _ELSEWHERE and not k.startswith("bench_options.where")}
    if trained:
        learned = flat(json.loads(trained.spec))
        leaves |= {k if k.startswith(("recipe.", "data")) else f"train.{k}": v for k, v in learned.items()}
        for key in ("train.seed", "train.kind", "train.model"):
            leaves.pop(key, None)
    if weights:
        leaves["@"] = weights.removeprefix(_TRAINED)[:8]
    return leaves


def _details(runs: Iterable[Known], part: str, axes: Collection[str]) -> dict[tuple[str, str | None, int], str]:
    """(bench, model or sampler, identity of its leaves) -> ` (key=value, …)`, where others of that name differ."""
    groups: dict[tuple[str, str | None], dict[int, Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run.bench, getattr(run, part)), {})[id(run.spec)] = run.spec
    details = {}
    for (bench, name), specs in groups.items():
        if len(specs) < 2:
            continue
        keys = _differing(list(specs.values()), chooses=part == "sampler", axes=axes)
        short = [key.rpartition(".")[2] for key in keys]
        for place, spec in specs.items():
            said = [
                f"@{spec[key]}" if key == "@" else f"{last if short.count(last) == 1 else key}={words(spec[key])}"
                for key, last in zip(keys, short, strict=True)
                if key in spec
            ]
            details[bench, name, place] = f" ({', '.join(said)})" if said else ""
    return details


def _differing(specs: list[Mapping[str, Any]], *, chooses: bool, axes: Collection[str]) -> list[str]:
    """Keys of one part in which `specs` differ; weights by digest only where nothing else tells them apart."""
    first = specs[0]
    keys = {
        key
        for spec in specs[1:]
        if spec != first
        for key in spec.keys() | first.keys()
        if spec.get(key) != first.get(key)
    }
    keys = {key for key in keys if key.startswith(_CHOOSING) == chooses}
    if "recipe.lr" in keys:  # parts that follow it in every spec say nothing more
        follow = {key for key in keys if key.startswith("recipe.train.")}
        keys -= {key for key in follow if all(spec.get(key, 0) == spec.get("recipe.lr") for spec in specs)}
    if "@" in keys and len(keys) > 1:
        rest = sorted(keys - {"@"})
        weights: dict[str, set[Any]] = {}
        for spec in specs:
            weights.setdefault(words([spec.get(key) for key in rest]), set()).add(spec.get("@"))
        if all(len(digests) == 1 for digests in weights.values()):
            keys.discard("@")
    return sorted(keys - set(axes))


def _with(label: str, detail: str) -> str:
    """`tiny (untrained)` and ` (stride=2)` -> `tiny (stride=2) (untrained)`."""
    plain = without_mark(label)
    return plain + detail + label[len(plain) :]
