"""The parts of the SLURM executor."""
