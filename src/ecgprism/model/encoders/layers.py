"""Layers shared by the encoders. The last axis is time; steps beyond a row's length stay 0 after every layer.

Convolutions are 2-D, (B, C, F, T) in the memory format channels_last, and a signal has F = 1: without the reordering
that 1-D convolutions do a training takes three quarters of the time on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecgprism.model.views.contract import valid_steps


def strided(length: Tensor | None, stride: int) -> Tensor | None:
    """Return the valid steps after a same-padded convolution with this stride."""
    return length if length is None or stride == 1 else (length + stride - 1) // stride


def time_mask(length: Tensor | None, x: Tensor) -> Tensor | None:
    """Return the mask of valid steps, shaped to multiply `x` (B, ..., T); None when every step is valid."""
    if length is None:
        return None
    valid = valid_steps(length, x.shape[-1]).to(x.dtype)
    return valid.view(x.shape[0], *[1] * (x.ndim - 2), x.shape[-1])


class MaskedBatchNorm(nn.Module):
    """Batch normalisation over (B, C, ..., T) whose statistics ignore padded steps (Ioffe and Szegedy 2015)."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        """Start as the identity."""
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Normalise; `x` must be 0 where the mask is."""
        if mask is None or not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
            )
        x, mask, kind = x.float(), mask.float(), x.dtype  # half precision would lose the count and the variance
        other = [axis for axis in range(x.ndim) if axis != 1]
        count = mask.sum() * (x[0, 0].numel() / x.shape[-1])
        mean = x.sum(dim=other, keepdim=True) / count
        centred = (x - mean) * mask
        variance = centred.square().sum(dim=other, keepdim=True) / count
        with torch.no_grad():
            unbiased = variance * (count / (count - 1).clamp(min=1))
            self.running_mean.lerp_(mean.flatten().to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.flatten().to(self.running_var.dtype), self.momentum)
        shape = mean.shape
        y = centred * (torch.rsqrt(variance + self.eps) * self.weight.view(shape)) + self.bias.view(shape)
        return y.to(kind)


class ConvBlock(nn.Module):
    """Convolution (same padding), batch normalisation, ReLU; padded steps are 0 before and after."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int], relu: bool = True
    ) -> None:
        """`kernel` (odd) and `stride` over frequency and time."""
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm = MaskedBatchNorm(outputs)
        self.stride, self.relu = stride[1], relu

    def forward(self, x: Tensor, length: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the block's output (B, C, F, T) and its valid steps."""
        length = strided(length, self.stride)
        x = self.conv(x.contiguous(memory_format=torch.channels_last))
        mask = time_mask(length, x)
        if mask is not None:
            x = x * mask
        x = self.norm(x, mask)
        x = F.relu(x, inplace=True) if self.relu else x
        return (x if mask is None else x * mask), length


class Shortcut(nn.Module):
    """Average of each stride over valid steps, 1 x 1 convolution, batch normalisation (He et al. 2019).

    A strided 1 x 1 convolution alone would see one step of each stride. Average and convolution are one convolution
    whose taps are equal, which is several times faster than two.
    """

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int]) -> None:
        """`stride` over frequency and time."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = MaskedBatchNorm(outputs)
        self.stride = stride

    def forward(self, x: Tensor, length: Tensor | None) -> Tensor:
        """Return (B, C, F, T) of as many steps as a same-padded convolution of this stride gives."""
        f, t = self.stride
        fill = (0, -x.shape[3] % t, 0, -x.shape[2] % f)
        taps = self.conv.weight.expand(-1, -1, f, t) / (f * t)
        y = F.conv2d(F.pad(x, fill) if any(fill) else x, taps, stride=self.stride)
        if length is not None or any(fill):
            y = y / self._share(x, length, fill)
        mask = time_mask(strided(length, t), y)
        y = self.norm(y, mask)
        return y if mask is None else y * mask

    def _share(self, x: Tensor, length: Tensor | None, fill: tuple[int, ...]) -> Tensor:
        """Return which part of each stride lies inside (B or 1, 1, F, T): the rest counts neither above nor below."""
        mask = time_mask(length, x)
        valid = torch.ones_like(x[:1, :1]) if mask is None else mask.expand(-1, -1, *x.shape[2:])
        return F.avg_pool2d(F.pad(valid, fill), self.stride, self.stride).clamp(min=1e-6)


class Residual(nn.Module):
    """Two convolution blocks with a shortcut (He et al. 2016); the shortcut averages where the block strides."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int], dropout: float
    ) -> None:
        """`dropout` of whole channels between the two convolutions (Tompson et al. 2015)."""
        super().__init__()
        self.first = ConvBlock(inputs, outputs, kernel, stride)
        self.second = ConvBlock(outputs, outputs, kernel, (1, 1), relu=False)
        plain = inputs == outputs and stride == (1, 1)
        self.shortcut = None if plain else Shortcut(inputs, outputs, stride)
        # neighbouring steps of a channel carry the same thing: single ones dropped would be seen through them
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor, length: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the block's output and its valid steps."""
        y, shorter = self.first(x, length)
        y, _ = self.second(self.dropout(y), shorter)
        return F.relu((x if self.shortcut is None else self.shortcut(x, length)) + y, inplace=True), shorter


class BiLstm(nn.Module):
    """Bidirectional LSTM over (B, T, C) -> (B, T, 2H) whose backward pass starts at each row's last valid step.

    Reversal is a gather, which exports to ONNX where packed sequences do not.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        """`hidden` units a direction."""
        super().__init__()
        self.forward_lstm = nn.LSTM(inputs, hidden, batch_first=True)
        self.backward_lstm = nn.LSTM(inputs, hidden, batch_first=True)

    def forward(self, x: Tensor, length: Tensor | None) -> Tensor:
        """Return both directions side by side; padded steps are 0."""
        ahead, _ = self.forward_lstm(x)
        if length is None:
            back, _ = self.backward_lstm(x.flip(1))
            return torch.cat([ahead, back.flip(1)], dim=2)
        steps = torch.arange(x.shape[1], device=x.device)
        # valid steps in reverse order, then the padding where it was
        order = torch.where(steps < length[:, None], length[:, None] - 1 - steps, steps)[:, :, None]
        back, _ = self.backward_lstm(x.gather(1, order.expand_as(x)))
        back = back.gather(1, order.expand_as(back))
        return torch.cat([ahead, back], dim=2) * (steps < length[:, None])[:, :, None]


class AttentionPool(nn.Module):
    """Pool (B, T, C) over valid steps to (B, 2C): attention-weighted mean (Ilse et al. 2018) beside the maximum."""

    def __init__(self, channels: int, hidden: int = 32) -> None:
        """`hidden` units score each step."""
        super().__init__()
        self.score = nn.Sequential(nn.Linear(channels, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def forward(self, x: Tensor, length: Tensor | None) -> Tensor:
        """Return (B, 2C)."""
        score = self.score(x)
        highest = x
        if length is not None:
            padded = ~valid_steps(length, x.shape[1])[:, :, None]
            score = score.masked_fill(padded, float("-inf"))
            highest = x.masked_fill(padded, float("-inf"))
        return torch.cat([(x * score.softmax(dim=1)).sum(dim=1), highest.amax(dim=1)], dim=1)
