"""Views of one ECG, one file each."""
