"""From the records in a run folder to its result."""
