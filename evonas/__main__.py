"""`python -m evonas` is `evonas`."""

from evonas.cli import main

main()
