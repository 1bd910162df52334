"""Encoders of one view, one file each."""
