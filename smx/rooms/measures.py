"""Exact geometry of upright boxes: distances, angles, lines of sight on the floor plan. Metres, radians."""

from __future__ import annotations

import numpy as np

from smx.rooms.entities import Piece

Footprint = tuple[np.ndarray, np.ndarray, float]
"""A rectangle on the floor: centre [2], half size [2] along its own axes, yaw."""


def footprint(piece: Piece) -> Footprint:
    """The rectangle `piece` stands on."""
    return np.array(piece.centre[:2]), np.array(piece.size[:2]) / 2, piece.yaw


def corners(rect: Footprint) -> np.ndarray:
    """[4, 2] corners, counter-clockwise."""
    centre, half, yaw = rect
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    c, s = np.cos(yaw), np.sin(yaw)
    return np.asarray(signs @ np.array([[c, s], [-s, c]]) + centre)


def footprint_distance(a: Footprint, b: Footprint) -> float:
    """Distance of the closest points of two rectangles on the floor; 0 where they overlap.

    The closest points of two disjoint convex polygons include a corner of one of them.
    """
    if _overlap(a, b):
        return 0.0
    return float(min(point_distance(corners(a), b).min(), point_distance(corners(b), a).min()))


def point_distance(points: np.ndarray, rect: Footprint) -> np.ndarray:
    """Distance of each point [..., 2] to a rectangle; 0 inside."""
    centre, half, yaw = rect
    c, s = np.cos(yaw), np.sin(yaw)
    local = (points - centre) @ np.array([[c, -s], [s, c]])
    return np.asarray(np.linalg.norm(np.maximum(np.abs(local) - half, 0), axis=-1))


def box_distance(a: Piece, b: Piece) -> float:
    """Distance of the closest points of two upright boxes: floor distance and height gap are independent."""
    flat = footprint_distance(footprint(a), footprint(b))
    gap = abs(a.centre[2] - b.centre[2]) - (a.size[2] + b.size[2]) / 2
    return float(np.hypot(flat, max(gap, 0.0)))


def bearing(stand: np.ndarray, face: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Signed angle(s) from the direction stand -> face to stand -> target, in (-pi, pi]; left is positive.

    `stand` and `face` are floor points [2], `target` is [..., 2].
    """
    ahead = face - stand
    there = target - stand
    cross = ahead[0] * there[..., 1] - ahead[1] * there[..., 0]
    dot = ahead[0] * there[..., 0] + ahead[1] * there[..., 1]
    return np.asarray(np.arctan2(cross, dot))


def _overlap(a: Footprint, b: Footprint) -> bool:
    """Separating axes: two rectangles are apart exactly when one of their four side normals separates them."""
    pa, pb = corners(a), corners(b)
    for yaw in (a[2], b[2]):
        c, s = np.cos(yaw), np.sin(yaw)
        for normal in (np.array([c, s]), np.array([-s, c])):
            u, v = pa @ normal, pb @ normal
            if u.max() < v.min() or v.max() < u.min():
                return False
    return True
