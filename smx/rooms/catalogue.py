"""What furniture there is: sizes, colours, and the boxes each piece is built of.

Every category has a colour and pattern of its own, so that a small model can learn to name it. Sizes are
metres (width, depth, height); a piece stands on the floor and faces its local +y, its back at y = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = tuple[float, float, float, float, float, float, int]
"""x0, x1, y0, y1, z0, z1 as fractions of the piece's width, depth, height; then which colour (0 or 1).
Together the parts of a piece touch all six sides of its bounding box, so the box is tight."""

Colour = tuple[int, int, int]
RoomKind = Literal["living room", "bedroom", "bathroom", "kitchen", "study"]

# Pattern numbers, as the renderers know them.
PLAIN, STRIPES, BANDS, CHECKS, DOTS, PLANKS, BRICKS = range(7)


@dataclass(frozen=True)
class Category:
    """One kind of furniture."""

    name: str
    plural: str
    low: tuple[float, float, float]  # smallest width, depth, height in metres
    high: tuple[float, float, float]
    against_wall: bool
    colours: tuple[Colour, Colour]
    pattern: int
    period: float  # metres of one repeat of the pattern
    parts: tuple[Part, ...]
    rooms: tuple[RoomKind, ...]
    several: tuple[int, int] | None = None  # fewest and most of a scene that has more than one


@dataclass(frozen=True)
class Surface:
    """Colours and pattern of a floor, a wall or a ceiling."""

    colours: tuple[Colour, Colour]
    pattern: int
    period: float


def _legs(top: float, tone: int, x: float = 0.1, y: float = 0.1) -> tuple[Part, ...]:
    """Four corner legs up to the fraction `top` of the height."""
    return (
        (0, x, 0, y, 0, top, tone),
        (1 - x, 1, 0, y, 0, top, tone),
        (0, x, 1 - y, 1, 0, top, tone),
        (1 - x, 1, 1 - y, 1, 0, top, tone),
    )


_BLOCK: Part = (0, 1, 0, 1, 0, 1, 0)

CATEGORIES: dict[str, Category] = {
    c.name: c
    for c in (
        Category(
            "chair", "chairs", (0.38, 0.40, 0.78), (0.52, 0.54, 1.00), False,
            ((236, 122, 28), (120, 58, 12)), STRIPES, 0.12,
            ((0, 1, 0, 1, 0.44, 0.51, 0), (0, 1, 0, 0.13, 0.51, 1, 0), *_legs(0.44, 1, 0.12, 0.12)),
            ("living room", "bedroom", "kitchen", "study"), several=(4, 6),
        ),
        Category(
            "stool", "stools", (0.30, 0.30, 0.40), (0.40, 0.40, 0.66), False,
            ((246, 214, 40), (120, 100, 20)), DOTS, 0.10,
            ((0, 1, 0, 1, 0.86, 1, 0), *_legs(0.86, 1, 0.16, 0.16)),
            ("bathroom", "kitchen", "study", "living room"), several=(2, 3),
        ),
        Category(
            "plant", "plants", (0.32, 0.32, 0.60), (0.60, 0.60, 1.30), False,
            ((70, 178, 50), (150, 70, 40)), CHECKS, 0.09,
            ((0.25, 0.75, 0.25, 0.75, 0, 0.3, 1), (0, 1, 0, 1, 0.3, 0.75, 0), (0.2, 0.8, 0.2, 0.8, 0.75, 1, 0)),
            ("living room", "bedroom", "bathroom", "study"), several=(2, 4),
        ),
        Category(
            "lamp", "lamps", (0.30, 0.30, 1.25), (0.46, 0.46, 1.75), False,
            ((255, 244, 170), (40, 36, 30)), PLAIN, 0.2,
            ((0.2, 0.8, 0.2, 0.8, 0, 0.03, 1), (0.44, 0.56, 0.44, 0.56, 0.03, 0.78, 1), (0, 1, 0, 1, 0.78, 1, 0)),
            ("living room", "bedroom", "study"), several=(2, 3),
        ),
        Category(
            "box", "boxes", (0.30, 0.30, 0.25), (0.62, 0.50, 0.52), False,
            ((222, 44, 176), (150, 20, 120)), BANDS, 0.16, (_BLOCK,),
            ("living room", "bedroom", "bathroom", "kitchen", "study"), several=(3, 6),
        ),
        Category(
            "table", "tables", (1.00, 0.70, 0.68), (1.90, 1.00, 0.80), False,
            ((150, 88, 44), (88, 48, 22)), PLANKS, 0.16,
            ((0, 1, 0, 1, 0.92, 1, 0), *_legs(0.92, 1, 0.07, 0.1)),
            ("living room", "kitchen"),
        ),
        Category(
            "desk", "desks", (1.00, 0.55, 0.70), (1.60, 0.80, 0.80), True,
            ((24, 128, 130), (12, 66, 70)), PLANKS, 0.14,
            ((0, 1, 0, 1, 0.93, 1, 0), (0, 0.3, 0, 1, 0, 0.93, 1), (0.95, 1, 0, 1, 0, 0.93, 1)),
            ("study", "bedroom"),
        ),
        Category(
            "sofa", "sofas", (1.50, 0.78, 0.70), (2.35, 1.00, 0.95), True,
            ((192, 36, 44), (120, 18, 28)), CHECKS, 0.22,
            (
                (0, 1, 0, 1, 0, 0.48, 0), (0, 1, 0, 0.28, 0.48, 1, 0),
                (0, 0.1, 0.28, 1, 0.48, 0.7, 1), (0.9, 1, 0.28, 1, 0.48, 0.7, 1),
            ),
            ("living room",),
        ),
        Category(
            "bed", "beds", (0.95, 1.90, 0.70), (1.80, 2.15, 1.10), True,
            ((56, 96, 206), (226, 230, 246)), STRIPES, 0.30,
            ((0, 1, 0, 0.05, 0, 1, 1), (0, 1, 0.05, 1, 0, 0.48, 0), (0.1, 0.9, 0.08, 0.28, 0.48, 0.6, 1)),
            ("bedroom",),
        ),
        Category(
            "cabinet", "cabinets", (0.70, 0.38, 0.85), (1.50, 0.60, 2.05), True,
            ((26, 104, 58), (14, 62, 34)), STRIPES, 0.40, (_BLOCK,),
            ("bedroom", "bathroom", "kitchen", "living room"),
        ),
        Category(
            "shelf", "shelves", (0.60, 0.25, 1.10), (1.30, 0.40, 2.05), True,
            ((122, 58, 160), (66, 26, 96)), BANDS, 0.34,
            (
                (0, 1, 0, 0.1, 0, 1, 1), (0, 0.05, 0.1, 1, 0, 1, 0), (0.95, 1, 0.1, 1, 0, 1, 0),
                (0.05, 0.95, 0.1, 1, 0, 0.06, 0), (0.05, 0.95, 0.1, 1, 0.32, 0.36, 0),
                (0.05, 0.95, 0.1, 1, 0.64, 0.68, 0), (0.05, 0.95, 0.1, 1, 0.96, 1, 0),
            ),
            ("living room", "study", "bedroom"),
        ),
        Category(
            "television", "televisions", (0.90, 0.30, 0.85), (1.50, 0.42, 1.25), True,
            ((18, 22, 34), (70, 74, 84)), PLAIN, 0.5,
            ((0, 1, 0.35, 0.6, 0.35, 1, 0), (0.15, 0.85, 0, 1, 0, 0.3, 1), (0.4, 0.6, 0.4, 0.55, 0.3, 0.35, 1)),
            ("living room", "bedroom"),
        ),
        Category(
            "toilet", "toilets", (0.36, 0.62, 0.70), (0.44, 0.74, 0.84), True,
            ((246, 246, 250), (200, 204, 214)), PLAIN, 0.2,
            ((0, 1, 0, 0.3, 0.45, 1, 0), (0.05, 0.95, 0.3, 1, 0.3, 0.5, 0), (0.2, 0.8, 0.1, 0.8, 0, 0.45, 1)),
            ("bathroom",),
        ),
        Category(
            "sink", "sinks", (0.50, 0.40, 0.80), (0.90, 0.56, 0.95), True,
            ((140, 222, 236), (84, 150, 168)), BRICKS, 0.16,
            ((0, 1, 0, 1, 0.8, 1, 0), (0.1, 0.9, 0, 0.85, 0, 0.8, 1)),
            ("bathroom", "kitchen"),
        ),
        Category(
            "bathtub", "bathtubs", (1.40, 0.68, 0.50), (1.80, 0.84, 0.65), True,
            ((246, 164, 190), (206, 110, 146)), BRICKS, 0.22,
            (
                (0, 1, 0, 1, 0, 0.35, 0), (0, 1, 0, 0.1, 0.35, 1, 0), (0, 1, 0.9, 1, 0.35, 1, 0),
                (0, 0.06, 0.1, 0.9, 0.35, 1, 1), (0.94, 1, 0.1, 0.9, 0.35, 1, 1),
            ),
            ("bathroom",),
        ),
        Category(
            "fridge", "fridges", (0.55, 0.58, 1.40), (0.80, 0.72, 2.00), True,
            ((168, 176, 186), (104, 112, 124)), BANDS, 0.70, (_BLOCK,),
            ("kitchen",),
        ),
    )
}  # fmt: skip

ROOM_KINDS: tuple[RoomKind, ...] = ("living room", "bedroom", "kitchen", "study", "bathroom")

# Muted, so that furniture stands out: floors, walls by room, and the ceiling.
FLOORS = (
    Surface(((176, 148, 116), (146, 118, 88)), PLANKS, 0.18),
    Surface(((158, 160, 160), (132, 134, 136)), CHECKS, 0.45),
    Surface(((128, 108, 92), (108, 90, 76)), PLANKS, 0.14),
    Surface(((150, 144, 132), (136, 130, 120)), BRICKS, 0.30),
)
WALLS = (
    Surface(((214, 208, 192), (202, 196, 180)), STRIPES, 0.32),
    Surface(((188, 200, 206), (176, 188, 196)), BRICKS, 0.40),
    Surface(((206, 194, 194), (196, 182, 184)), BANDS, 0.50),
    Surface(((196, 204, 184), (184, 194, 172)), CHECKS, 0.36),
    Surface(((216, 214, 210), (206, 204, 202)), DOTS, 0.28),
)
CEILING = Surface(((226, 226, 222), (214, 214, 210)), CHECKS, 0.60)
DOORWAY = Surface(((112, 92, 72), (98, 80, 62)), PLAIN, 0.30)
