"""From files to answers."""
