"""The built-in rooms: procedural indoor scenes with exact geometry, cameras and questions, from a seed."""

from smx.rooms.entities import Doorway, Picture, Piece, Room
from smx.rooms.questions import QUESTION_TYPES, Row, questions
from smx.rooms.render import Frame, render, visible
from smx.rooms.scene import FPS, GENERATOR, MAX_FRAMES, RoomScene, Split, make_scene, named_scene, scene_names

__all__ = [
    "FPS",
    "GENERATOR",
    "MAX_FRAMES",
    "QUESTION_TYPES",
    "Doorway",
    "Frame",
    "Picture",
    "Piece",
    "Room",
    "RoomScene",
    "Row",
    "Split",
    "make_scene",
    "named_scene",
    "questions",
    "render",
    "scene_names",
    "visible",
]
