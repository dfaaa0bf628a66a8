"""Video files: what is in them, frames by index, and writing them.

A frame's id is its place in the order of presentation. What a header says about counts is not believed: the
packets (or, where a packet is not a frame, the decoded frames) are counted once per file and process. Every
frame handed out is the one a full sequential decode gives, turned upright by the file's rotation tag; a frame
that is missing, damaged, or built on a damaged one is a `SceneError`, never a picture.
"""

from smx.video._decode import decode
from smx.video._index import Video, probe
from smx.video._write import write

__all__ = ["Video", "decode", "probe", "write"]
