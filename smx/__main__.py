"""`python -m smx`."""

from smx.cli import main

main()
