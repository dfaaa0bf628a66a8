"""smx: experiments with spatial video MLLMs, from chosen frames to the table."""

__version__ = "0.1.0"
