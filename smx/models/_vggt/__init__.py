"""VGGT's inference path: network, heads, checkpoint, geometry source."""
