"""What an encoder is: a network that turns one view into tokens."""

from __future__ import annotations

from torch import Tensor, nn

from ecgprism.errors import ConfigError
from ecgprism.model.views.contract import Features, Shape

__all__ = ["Encoder", "Features", "Shape", "expect"]


class Encoder(nn.Module):
    """Interface of every encoder: built from a view's shape and the token size `dim`."""

    def forward(self, features: Features) -> Tensor:
        """Return tokens (B, N, D); pooled means N = 1."""
        raise NotImplementedError


def expect(encoder: str, shape: Shape, wanted: str, fits: bool) -> None:
    """Raise ConfigError with both shapes unless the view's shape fits the encoder."""
    if not fits:
        raise ConfigError(f"encoder {encoder} takes {wanted}; the view gives {shape}")
