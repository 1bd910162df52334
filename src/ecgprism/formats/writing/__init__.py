"""Recordings into files, one file a format."""
