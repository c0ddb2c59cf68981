"""Runs the command line with `python -m evonas`."""

from evonas.cli import main

main()
