"""What a scene is made of. World axes: x and y span the floor, z points up, metres."""

from __future__ import annotations

from dataclasses import dataclass

from smx.rooms.catalogue import Colour, RoomKind


@dataclass(frozen=True)
class Room:
    """The inside of one rectangular room."""

    kind: RoomKind
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        """Floor area in m²."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


@dataclass(frozen=True)
class Doorway:
    """An opening through the wall between two rooms. `axis` 0: one walks along x, 1: along y.

    Room `a` lies on the low side of that axis. x0..y1 is the floor of the opening.
    """

    a: int
    b: int
    axis: int
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class Piece:
    """One piece of furniture: an upright box turned by `yaw` (radians, counter-clockwise from above)."""

    category: str
    room: int
    centre: tuple[float, float, float]
    size: tuple[float, float, float]  # width, depth, height along the local axes
    yaw: float
    brightness: float  # multiplies the category's colours


@dataclass(frozen=True)
class Picture:
    """A flat decoration on a wall. Never asked about; makes walls recognisable."""

    room: int
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    colours: tuple[Colour, Colour]
    pattern: int
