"""Scores, their intervals, significance, calibration."""
