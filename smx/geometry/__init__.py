"""Pure geometry: voxels, cameras, reprojection, pose attention. Numpy and torch in, numpy and torch out."""
