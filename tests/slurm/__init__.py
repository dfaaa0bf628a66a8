"""Tests on a real SLURM, started here."""
