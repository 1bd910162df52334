"""python -m ecgprism."""

from ecgprism.cli import main

main()
