"""Encoders of one view; importing this package registers the built-in ones."""

from ecgprism.encoders import cnn_bilstm, crnn2d, mlp, resnet1d
from ecgprism.encoders.contract import Encoder

__all__ = ["Encoder", "cnn_bilstm", "crnn2d", "mlp", "resnet1d"]
