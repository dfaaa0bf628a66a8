"""What SLURM's commands print, read into plain values. Pure functions: nothing here runs a command.

Written after the manuals of sbatch, squeue, sacct and scontrol, and after what 22.05 really prints.
"""
