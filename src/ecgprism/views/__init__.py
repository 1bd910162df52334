"""Views of one ECG; importing this package registers the built-in ones."""

from ecgprism.views import metadata, spectrogram, spectrum, waveform
from ecgprism.views.contract import Features, Shape, View

__all__ = ["Features", "Shape", "View", "metadata", "spectrogram", "spectrum", "waveform"]
