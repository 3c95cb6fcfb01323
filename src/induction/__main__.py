"""`python -m induction`: the command, where it is not on the path."""

from induction.cli import main

main()
