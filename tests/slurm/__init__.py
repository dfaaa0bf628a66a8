"""Tests on a real SLURM, started here."""

import pytest

pytest.register_assert_rewrite("slurm.cluster", "slurm.following")
