"""A file to a recording and back."""
