"""Copies of ECG files without the patient."""
