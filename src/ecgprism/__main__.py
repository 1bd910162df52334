"""python -m ecgprism."""

from ecgprism.cli.entry import main

main()
