"""Questions of all ten VSI-Bench types about a built-in scene, answered from its exact geometry.

Only what the walk shows is asked about, and only where the answer is clear. Letters, directions and turns
are dealt out evenly over consecutive scenes, so always giving the same answer does not pay.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from smx.rooms.catalogue import CATEGORIES
from smx.rooms.measures import box_distance
from smx.rooms.relations import DIRECTIONS, TURNS, Route, Triple, routes, triples
from smx.rooms.scene import RoomScene
from smx.rooms.visibility import Visible, look_through

QUESTION_TYPES = (
    "object_counting",
    "object_abs_distance",
    "object_size_estimation",
    "room_size_estimation",
    "object_rel_distance",
    "object_rel_direction_easy",
    "object_rel_direction_medium",
    "object_rel_direction_hard",
    "route_planning",
    "obj_appearance_order",
)
# Questions of each type in a scene that offers enough.
_WANTED = dict(zip(QUESTION_TYPES, (2, 3, 3, 1, 2, 1, 1, 2, 1, 2), strict=True))
_LETTERS = "ABCD"
T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Row:
    """One question, with the columns of VSI-Bench."""

    id: str
    dataset: str
    scene_name: str
    question_type: str
    question: str
    options: list[str] | None  # "A. chair"; None for numbers
    ground_truth: str  # a letter, or a number: metres, centimetres, m² or a count


@dataclass(frozen=True)
class _Draft:
    """A question before its options have letters: for multiple choice `truth` is one of `choices`."""

    question: str
    truth: str
    choices: tuple[str, ...] | None = None


def questions(scene: RoomScene) -> list[Row]:
    """About 18 questions of up to ten types, deterministic, in the order of `QUESTION_TYPES`."""
    seen = look_through(scene)
    rows: list[Row] = []
    for kind in QUESTION_TYPES:
        rng = np.random.default_rng([20_253, scene.seed, QUESTION_TYPES.index(kind)])
        drafts = _MAKERS[kind](seen, rng, scene)
        for k, draft in enumerate(itertools.islice(drafts, _WANTED[kind])):
            options, truth = _lettered(draft, rng, scene.seed, QUESTION_TYPES.index(kind), k)
            number = f"{scene.name}-{len(rows):02d}"
            rows.append(Row(number, "rooms", scene.name, kind, draft.question, options, truth))
    return rows


def _lettered(draft: _Draft, rng: np.random.Generator, seed: int, kind: int, k: int) -> tuple[list[str] | None, str]:
    if draft.choices is None:
        return None, draft.truth
    others = [c for c in draft.choices if c != draft.truth]
    order = [others[i] for i in rng.permutation(len(others))]
    # Routes have three choices in one scene and four in the next, so each sort is dealt its own letters.
    every = 2 if QUESTION_TYPES[kind] == "route_planning" else 1
    at = deal(range(len(draft.choices)), seed, (1, kind, k), every)[0]
    order.insert(at, draft.truth)
    return [f"{letter}. {text}" for letter, text in zip(_LETTERS, order, strict=False)], _LETTERS[at]


def deal(values: Sequence[T], seed: int, stream: tuple[int, ...], every: int = 1) -> list[T]:
    """`values` in a shuffled order that starts with another one in each scene of a block of consecutive scenes.

    So over scenes each value comes first equally often, yet nothing tells which one is next. `every`: move on
    only every so many scenes, where only one in so many asks. `stream` keeps separate dealings apart.
    """
    block, at = divmod(seed // 2 // every, len(values))
    order = np.random.default_rng([20_254, seed % 2, block, *stream]).permutation(len(values))
    return [values[i] for i in np.roll(order, -at)]


def _shuffled(rng: np.random.Generator, values: Sequence[T]) -> list[T]:
    return [values[i] for i in rng.permutation(len(values))]


def _counting(seen: Visible, rng: np.random.Generator, scene: RoomScene) -> Iterator[_Draft]:
    for name in _shuffled(rng, sorted(seen.counted)):
        yield _Draft(f"How many {CATEGORIES[name].plural} does the video show?", str(seen.counted[name]))


def _abs_distance(seen: Visible, rng: np.random.Generator, scene: RoomScene) -> Iterator[_Draft]:
    used: set[str] = set()
    for a, b in _shuffled(rng, list(itertools.combinations(seen.single, 2))):
        metres = box_distance(a, b)
        if metres >= 0.4 and not {a.category, b.category} <= used:
            used |= {a.category, b.category}
            yield _Draft(
                f"Taking the closest point of each, how many meters apart are the {a.category} and the {b.category}?",
                f"{metres:.1f}",
            )


def _object_size(seen: Visible, rng: np.random.Generator, scene: RoomScene) -> Iterator[_Draft]:
    for piece in _shuffled(rng, seen.single):
        yield _Draft(
            f"What does the {piece.category} measure along its longest dimension (length, width or height), "
            "in centimeters?",
            f"{100 * max(piece.size):.0f}",
        )


def _room_size(seen: Visible, rng: np.random.Generator, scene: RoomScene) -> Iterator[_Draft]:
    yield _Draft(
        "How large is the floor of the rooms in this video, all rooms added up, in square meters?",
        f"{sum(room.area for room in scene.rooms):.1f}",
    )


def _rel_distance(seen: Visible, rng: np.random.Generator, scene: RoomScene) -> Iterator[_Draft]:
    if len(seen.single) < 5:
        return
    asked: set[str] = set()
    for _ in range(60):
        subject, *choices = _shuffled(rng, seen.single)[:5]
        near, second = sorted(box_distance(subject, c) for c in choices)[:2]
        if subject.category in asked or second - near < max(0.3, 0.2 * near):
            continue
        asked.add(subject.category)
        names = tuple(c.category for c in choices)
        closest = min(choices, key=lambda c: box_distance(subject, c)).category
        yield _Draft(
            f"Going by the closest points, which of these is nearest to the {subject.category}: {', '.join(names)}?",
            closest,
            names,
        )


def _rel_direction(level: str) -> Callable[[Visible, np.random.Generator, RoomScene], Iterator[_Draft]]:
    def make(seen: Visible, rng: np.random.Generator, scene: RoomScene) -> Iterator[_Draft]:
        by_direction: dict[str, list[Triple]] = {name: [] for name in DIRECTIONS[level]}
        for triple in _shuffled(rng, triples(seen.single, level)):
            by_direction[triple.direction].append(triple)
        for name in deal(DIRECTIONS[level], scene.seed, (2, len(DIRECTIONS[level]))):
            for triple in by_direction[name][:1]:
                yield _Draft(_direction_text(triple, level), name, DIRECTIONS[level])

    return make


def _direction_text(triple: Triple, level: str) -> str:
    stand, face, target = triple.stand.category, triple.face.category, triple.target.category
    scene = f"Imagine standing at the {stand} and looking towards the {face}. "
    if level == "easy":
        return scene + f"Would the {target} be on your left or on your right?"
    if level == "medium":
        return (
            scene + f"Would the {target} be to your left, to your right, or at your back? "
            "At your back means that you would have to turn by 135 degrees or more to face it."
        )
    return (
        scene + f"In which quarter around you would the {target} be: front-left, front-right, back-left or back-right? "
        "The quarters meet where you stand, and front is where you look."
    )


def _route(seen: Visible, rng: np.random.Generator, scene: RoomScene) -> Iterator[_Draft]:
    found = _shuffled(rng, routes(scene, seen.single))
    gaps = deal((1, 2), scene.seed, (3,))
    for count in gaps:
        combinations = list(itertools.product(TURNS, repeat=count))
        for wanted in deal(combinations, scene.seed, (4, count), every=2):
            for route in found:
                if route.turns == wanted:
                    others = _shuffled(rng, [c for c in combinations if c != wanted])[: 2 if count == 1 else 3]
                    choices = tuple(", ".join(c) for c in (wanted, *others))
                    yield _Draft(_route_text(route), choices[0], choices)
                    break


def _route_text(route: Route) -> str:
    start, middle, goal = (p.category for p in route.stops)
    steps = [f"Go forward until you reach the {middle}.", "[fill in]", f"Go forward until you reach the {goal}."]
    if len(route.turns) == 2:
        steps.insert(0, "[fill in]")
    listed = " ".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
    gap = "each [fill in], in order" if len(route.turns) == 2 else "[fill in]"
    return (
        f"A robot stands at the {start} and faces the {route.face.category}. It is to drive to the {goal} as follows: "
        f"{listed} What belongs in the place of {gap}?"
    )


def _appearance(seen: Visible, rng: np.random.Generator, scene: RoomScene) -> Iterator[_Draft]:
    apart = max(1, len(scene.w2c) // 48)
    asked: set[frozenset[str]] = set()
    for _ in range(60):
        chosen: list[str] = []
        for name in _shuffled(rng, sorted(seen.first)):
            if all(_before(seen, a, name, apart) or _before(seen, name, a, apart) for a in chosen):
                chosen.append(name)
            if len(chosen) == 4:
                break
        if len(chosen) < 4 or frozenset(chosen) in asked:
            continue
        asked.add(frozenset(chosen))
        order = sorted(chosen, key=lambda name: seen.first[name])
        wrong = _shuffled(rng, [p for p in itertools.permutations(order) if list(p) != order])[:3]
        choices = tuple(", ".join(p) for p in (order, *wrong))
        yield _Draft(
            f"In which order do these first come into view in the video: {', '.join(chosen)}?", choices[0], choices
        )


def _before(seen: Visible, a: str, b: str, apart: int) -> bool:
    """Whether `a` clearly comes first, both by the first glimpse and by the first good view."""
    return all(x + apart <= y for x, y in zip(seen.first[a], seen.first[b], strict=True))


_MAKERS: dict[str, Callable[[Visible, np.random.Generator, RoomScene], Iterator[_Draft]]] = {
    "object_counting": _counting,
    "object_abs_distance": _abs_distance,
    "object_size_estimation": _object_size,
    "room_size_estimation": _room_size,
    "object_rel_distance": _rel_distance,
    "object_rel_direction_easy": _rel_direction("easy"),
    "object_rel_direction_medium": _rel_direction("medium"),
    "object_rel_direction_hard": _rel_direction("hard"),
    "route_planning": _route,
    "obj_appearance_order": _appearance,
}
