"""What every checkpoint model shares: prompt, pixels, positions, poses, the runner."""
