"""Fusions of views, one file each."""
