"""Numbers against SciPy, PyTorch and closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.signal
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ecgprism.config import Augment
from ecgprism.ecg.resampling import resample
from ecgprism.interface.card import Card, Column, InputSpec, MetadataSchema, Task
from ecgprism.interface.inputs import Windows
from ecgprism.metrics.calibration import temperature
from ecgprism.model.batch import Batch
from ecgprism.model.encoders.layers import AttentionPool, BiLstm, MaskedBatchNorm, Shortcut, time_mask
from ecgprism.model.views.contract import View, valid_steps
from ecgprism.model.views.metadata import Metadata
from ecgprism.model.views.spectrogram import CENTRE, FLOOR, SPREAD, Spectrogram
from ecgprism.model.views.spectrum import Spectrum
from ecgprism.model.views.waveform import Waveform
from ecgprism.training.augmentation import augment, band_stop, coloured_noise, drawn_noise

from .examples import METADATA, TWELVE_LEADS, alone, ecgs, padded, unsettled

RATES_HZ = (100.0, 250.0, 300.0, 500.0)
LEADS = ("I", "II", "V1")


def at_rate(rate_hz: float, seconds: float = 10.0) -> InputSpec:
    return InputSpec(LEADS, rate_hz, round(seconds * rate_hz))


def log_power(x: Tensor) -> np.ndarray:
    """Return log10 of power + FLOOR, as it was before the view brought it near zero mean and unit spread."""
    return x.double().numpy() * SPREAD + CENTRE


def seconds_of(spec: InputSpec, *seconds: float, seed: int = 0) -> Batch:
    """Records of these durations: noise, 10 Hz and a baseline far from zero, in mV."""
    batch = ecgs([round(s * spec.rate_hz) for s in seconds], spec, seed)
    t = torch.arange(batch.signal.shape[2]) / spec.rate_hz
    wave = torch.sin(2 * math.pi * 10 * t) + 2.0
    lengths = torch.full((len(seconds),), len(t)) if batch.length is None else batch.length
    return replace(batch, signal=batch.signal + wave * valid_steps(lengths, len(t))[:, None, :])


# Views against SciPy


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_spectrum_is_welchs_method_as_scipy_computes_it(rate_hz: float) -> None:
    spec = at_rate(rate_hz)
    view, batch = Spectrum(spec), seconds_of(spec, 10.0, 6.1)
    x = view(batch).x
    for row in range(2):
        width = round(2.56 * rate_hz)
        f, power = scipy.signal.welch(
            alone(batch, row).signal[0].double().numpy(), rate_hz, "hann", width, width // 2, detrend="constant",
            scaling="density",
        )  # fmt: skip
        band = (f >= 0.5) & (f <= 40.0)
        assert np.allclose(view.power.frequencies_hz, f[band])
        assert np.abs(log_power(x[row]) - np.log10(power[:, band] + FLOOR)).max() <= 1e-4


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_spectrogram_is_that_of_scipy(rate_hz: float) -> None:
    spec = at_rate(rate_hz)
    view, batch = Spectrogram(spec), seconds_of(spec, 10.0, 6.1)
    x, length = view(batch)
    assert length is not None
    for row in range(2):
        width, hop = round(0.64 * rate_hz), round(0.16 * rate_hz)
        f, t, power = scipy.signal.spectrogram(
            alone(batch, row).signal[0].double().numpy(), rate_hz, "hann", width, width - hop, detrend="constant",
            scaling="density",
        )  # fmt: skip
        band = (f >= 0.5) & (f <= 40.0)
        assert np.allclose(view.power.frequencies_hz, f[band])
        assert length[row] == len(t)
        ours = log_power(x[row, :, :, : len(t)])
        assert np.abs(ours - np.log10(power[:, band] + FLOOR)).max() <= 1e-4


def test_power_at_zero_and_at_half_the_rate_is_not_doubled() -> None:
    spec = at_rate(100.0)
    view, batch = Spectrum(spec, window_s=0.2, low_hz=0.0, high_hz=50.0), ecgs((1000,), at_rate(100.0))
    f, power = scipy.signal.welch(batch.signal[0].double().numpy(), 100.0, "hann", 20)
    assert np.allclose(view.power.frequencies_hz, f)
    assert np.abs(log_power(view(batch).x[0]) - np.log10(power + FLOOR)).max() <= 1e-4


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("seconds", [0.3, 2.0, 5.0], ids=lambda s: f"{s} s")
def test_spectral_views_of_a_padded_row_are_those_of_the_row(rate_hz: float, seconds: float) -> None:
    spec = at_rate(rate_hz)
    batch = padded(seconds_of(spec, 10.0, seconds), 123)
    row = alone(batch, 1)
    assert (Spectrum(spec)(batch).x[1] - Spectrum(spec)(row).x[0]).abs().max() <= 1e-5
    whole, length = Spectrogram(spec)(batch)
    single = Spectrogram(spec)(row).x[0]
    assert length is not None
    assert length[1] == single.shape[-1]
    assert (whole[1, :, :, : length[1]] - single).abs().max() <= 1e-5


def test_waveform_is_the_signal_about_each_leads_mean() -> None:
    batch = ecgs((1000, 400))
    x = Waveform(TWELVE_LEADS)(batch).x.numpy()
    for row, samples in ((0, 1000), (1, 400)):
        signal = batch.signal[row, :, :samples].numpy()
        assert np.allclose(x[row, :, :samples], signal - signal.mean(axis=1, keepdims=True), atol=1e-6)
        assert not x[row, :, samples:].any()


def test_waveform_without_its_moving_mean_is_that_of_numpy_and_loses_wander() -> None:
    batch = ecgs([1000, 640])
    seen = Waveform(TWELVE_LEADS, detrend_s=1.0)(batch)
    for row, n in ((0, 1000), (1, 640)):
        x = batch.signal[row, :, :n].double().numpy()
        x = x - x.mean(axis=1, keepdims=True)
        window = [x[:, max(i - 50, 0) : i + 51].mean(axis=1) for i in range(n)]
        np.testing.assert_allclose(seen.x[row, :, :n], x - np.stack(window, axis=1), atol=1e-5)
        assert (seen.x[row, :, n:] == 0).all()
    slow = replace(
        batch, signal=torch.sin(2 * torch.pi * 0.1 * torch.arange(1000) / 100).expand(2, 12, 1000), length=None
    )
    assert Waveform(TWELVE_LEADS, detrend_s=1.0)(slow).x[:, :, 100:-100].abs().max() < 0.03


def test_waveform_scaled_by_record_has_unit_spread_over_the_leads_that_are_there() -> None:
    batch = ecgs((1000, 400))
    mask = batch.lead_mask.clone()
    mask[1, 3:] = False
    batch = replace(batch, lead_mask=mask, signal=10 * batch.signal * mask[:, :, None])
    x = Waveform(TWELVE_LEADS, scale="record")(batch).x
    assert x[0].square().mean() == pytest.approx(1.0, abs=1e-5)
    assert x[1, :3, :400].square().mean() == pytest.approx(1.0, abs=1e-5)
    assert not x[1, 3:].any()


@pytest.mark.parametrize("view_class", [Waveform, Spectrum, Spectrogram])
def test_where_the_baseline_lies_changes_no_view_whatever_the_length(view_class: type[View]) -> None:
    view, batch = view_class(TWELVE_LEADS), ecgs((1000, 640, 30))
    assert batch.length is not None
    shift = 2.0 * valid_steps(batch.length, 1000)[:, None, :]
    before, after = view(batch), view(replace(batch, signal=batch.signal + shift))
    assert (before.x - after.x).abs().amax(dim=tuple(range(1, before.x.ndim))).max() <= 1e-4


# Metadata


def test_metadata_view_standardises_numbers_and_gives_each_category_a_column() -> None:
    nan = math.nan
    rows = torch.tensor([[75.0, 0.0], [45.0, 1.0], [nan, 1.0], [60.0, nan], [nan, nan]])
    batch = Batch(torch.zeros(5, 12, 10), None, torch.ones(5, 12, dtype=torch.bool), rows)
    view = Metadata(TWELVE_LEADS)
    # age, age missing, female, male, sex missing
    expected = [[1, 0, 1, 0, 0], [-1, 0, 0, 1, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1], [0, 1, 0, 0, 1]]
    assert view(batch).x.tolist() == expected
    assert view.present(batch).tolist() == [True, True, True, True, False]
    assert Metadata(TWELVE_LEADS, columns=["sex"])(batch).x.tolist() == [row[2:] for row in expected]


def test_metadata_statistics_are_those_of_the_values_that_are_given() -> None:
    table = pd.DataFrame(
        {
            "age": [20.0, 40.0, None, 60.0],
            "height": [None] * 4,
            "sex": ["male", None, "female", "male"],
            "site": [None] * 4,
        }
    ).astype({"age": float, "height": float, "sex": object, "site": object})
    kinds = {"age": "numeric", "height": "numeric", "sex": "categorical", "site": "categorical"}
    age, height, sex, site = MetadataSchema.fit(table, kinds).columns
    assert (age.mean, age.categories) == (40.0, None)
    assert age.std == pytest.approx(np.std([20, 40, 60]), rel=1e-12)
    assert (height.mean, height.std) == (0.0, 1.0)
    assert sex.categories == ("female", "male")
    assert site.categories == ()


def test_metadata_encodes_by_name_and_an_unseen_category_or_no_number_is_missing() -> None:
    rows = {"sex": ["male", "female", "Male", None], "age": [50, "51.5", "old", None], "pulse": [1, 2, 3, 4]}
    expected = np.array([[50.0, 1.0], [51.5, 0.0], [np.nan, np.nan], [np.nan, np.nan]], dtype=np.float32)
    for given_rows in (rows, pd.DataFrame(rows)):
        np.testing.assert_array_equal(METADATA.encode(given_rows, 4), expected)
    np.testing.assert_array_equal(METADATA.encode({"age": [50]}, 1), [[50.0, np.nan]])


def test_values_that_the_model_does_not_know_are_named_by_column() -> None:
    table = pd.DataFrame({"age": [50, None, "old"], "sex": ["female", "F", None], "site": [1, 2, 3]})
    assert METADATA.unknown(table) == {"age": ("old",), "sex": ("F",)}
    assert METADATA.unknown({"sex": [None, float("nan"), "male"]}) == {}


def test_metadata_schema_comes_back_from_json_as_it_was() -> None:
    schema = MetadataSchema(
        (Column("age", mean=60.5, std=15.25), Column("sex", ("female", "male")), Column("site", categories=()))
    )
    card = Card.of(InputSpec(("I",), 100.0, 300, schema), Task("multilabel", ("a",)))
    assert Card.parsed(card.model_dump_json(), "x").spec.metadata == schema


@pytest.mark.parametrize("value", [0.1, 1.7, 63.7, 72.3])
def test_a_column_of_one_value_is_not_divided_by_rounding_noise(value: float) -> None:
    for n in range(1, 40):
        (column,) = MetadataSchema.fit(pd.DataFrame({"height": [value] * n}), {"height": "numeric"}).columns
        assert (column.mean, column.std) == (pytest.approx(value), 1.0), f"{n} records"


# Layers against PyTorch


@pytest.mark.parametrize(
    ("shape", "stride"), [((1, 12), (1, 2)), ((1, 13), (1, 3)), ((6, 9), (2, 2)), ((5, 8), (1, 4))]
)
def test_a_shortcut_averages_over_every_step_of_its_stride_that_is_valid(
    shape: tuple[int, int], stride: tuple[int, int]
) -> None:
    shortcut = Shortcut(4, 3, stride).eval()
    shortcut.norm.running_var.fill_(1 - shortcut.norm.eps)
    x, length = torch.randn(3, 4, *shape), torch.tensor([shape[-1], shape[-1] - 2, 3])
    mask = time_mask(length, x)
    assert mask is not None
    with torch.no_grad():
        found, full = shortcut(x * mask, length), shortcut(x, None)
        weight = shortcut.conv.weight[:, :, 0, 0]
        for row, valid in enumerate(length.tolist()):
            kept = x[row, ..., :valid]
            for axis, step in enumerate(stride, start=1):
                parts = kept.split(step, dim=axis)
                kept = torch.cat([part.mean(dim=axis, keepdim=True) for part in parts], dim=axis)
            expected = torch.einsum("oc,cft->oft", weight, kept)
            torch.testing.assert_close(found[row, ..., : kept.shape[-1]], expected)
            assert (found[row, ..., kept.shape[-1] :] == 0).all()
        torch.testing.assert_close(full, shortcut(x, torch.full((3,), shape[-1])))


CHANNELS = 5


def batch_norms(dimensions: int, training: bool) -> tuple[MaskedBatchNorm, nn.Module]:
    """Ours and PyTorch's with the same weights and statistics."""
    ours = unsettled(MaskedBatchNorm(CHANNELS, momentum=0.3))
    theirs = (nn.BatchNorm1d if dimensions == 1 else nn.BatchNorm2d)(CHANNELS, momentum=0.3)
    theirs.load_state_dict({**ours.state_dict(), "num_batches_tracked": torch.tensor(0)})
    return ours.train(training), theirs.train(training)


def normalised(norm: nn.Module, x: Tensor, *mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return output and gradient in `x`; the gradients in the weights stay with the layer."""
    x = x.clone().requires_grad_()
    y = norm(x, *mask)
    weight = torch.randn(y.shape[1:-1], generator=torch.Generator().manual_seed(2))[..., None]
    keep = 1.0 if not mask or mask[0] is None else mask[0]
    loss = ((y * weight + y.square()) * keep).sum()
    (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
    loss.backward()
    return y.detach(), gradient


def assert_same_norm(ours: MaskedBatchNorm, theirs: nn.Module) -> None:
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("shape", [(4, CHANNELS, 30), (4, CHANNELS, 6, 30)], ids=["1d", "2d"])
def test_batch_norm_without_padding_is_that_of_pytorch(shape: tuple[int, ...], training: bool) -> None:
    ours, theirs = batch_norms(len(shape) - 2, training)
    x = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 1
    everything = time_mask(torch.full((4,), 30), x)
    for mask in (None, everything):
        y, gradient = normalised(ours, x, mask)
        expected, expected_gradient = normalised(theirs, x)
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-4)
        assert_same_norm(ours, theirs)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("shape", [(4, CHANNELS, 30), (4, CHANNELS, 6, 30)], ids=["1d", "2d"])
def test_masked_batch_norm_is_that_of_pytorch_over_the_valid_steps_side_by_side(
    shape: tuple[int, ...], training: bool
) -> None:
    ours, theirs = batch_norms(len(shape) - 2, training)
    lengths = [30, 17, 1, 24]
    x = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 1
    mask = time_mask(torch.tensor(lengths), x)
    assert mask is not None
    x = x * mask

    def valid(rows: Tensor) -> Tensor:
        return torch.cat([row[..., :n] for row, n in zip(rows, lengths, strict=True)], dim=-1)[None]

    y, gradient = normalised(ours, x, mask)
    expected, expected_gradient = normalised(theirs, valid(x))
    torch.testing.assert_close(valid(y), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(valid(gradient), expected_gradient, rtol=1e-4, atol=1e-4)
    assert_same_norm(ours, theirs)


@pytest.mark.parametrize("autocast", [True, False])
def test_masked_batch_norm_of_half_precision_has_the_statistics_of_single_precision(autocast: bool) -> None:
    lengths = torch.tensor([100, 100, 57])  # 257 steps: a number that bfloat16 does not have
    x = (2 * torch.randn(3, CHANNELS, 100, generator=torch.Generator().manual_seed(0)) + 5).bfloat16()
    mask = time_mask(lengths, x)
    assert mask is not None
    half, single = (MaskedBatchNorm(CHANNELS, momentum=1.0).train() for _ in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y = half(x * mask, mask)
    expected = single((x * mask).float(), mask.float())
    torch.testing.assert_close(half.running_mean, single.running_mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(half.running_var, single.running_var, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(y.float() * mask, expected * mask, rtol=1e-2, atol=1e-2)


def test_bidirectional_lstm_is_that_of_pytorch_over_packed_sequences() -> None:
    torch.manual_seed(0)
    ours, theirs = BiLstm(6, 4), nn.LSTM(6, 4, batch_first=True, bidirectional=True)
    weights = dict(ours.forward_lstm.state_dict())
    weights |= {f"{key}_reverse": value for key, value in ours.backward_lstm.state_dict().items()}
    theirs.load_state_dict(weights)
    lengths = torch.tensor([7, 12, 1, 12])
    x = torch.randn(4, 12, 6) * valid_steps(lengths, 12)[:, :, None]
    packed, _ = theirs(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True, total_length=12)
    torch.testing.assert_close(ours(x, lengths), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours(x, None), theirs(x)[0], rtol=1e-5, atol=1e-6)


def test_attention_pooling_is_its_closed_form_whatever_the_padding() -> None:
    torch.manual_seed(0)
    pool = AttentionPool(6)
    lengths = [9, 4, 1]
    x = torch.randn(3, 9, 6) - 2  # all maxima below the zeros of the padding
    pooled = pool(x * valid_steps(torch.tensor(lengths), 9)[:, :, None], torch.tensor(lengths))
    for row, n in enumerate(lengths):
        part = x[row, :n]
        weight = torch.softmax(pool.score(part)[:, 0], dim=0)
        expected = torch.cat([weight @ part, part.max(dim=0).values])
        torch.testing.assert_close(pooled[row], expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(pool(part[None], None)[0], expected, rtol=1e-5, atol=1e-6)


# Resampling


@pytest.mark.parametrize("samples", [2, 3, 37, 1111])
@pytest.mark.parametrize(("from_hz", "to_hz"), [(360, 100), (500, 100), (250, 100), (100, 250), (257, 100)])
def test_resampling_is_that_of_scipy(from_hz: float, to_hz: float, samples: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, samples)).astype(np.float32) + np.float32(3)
    up, down = (int(v) // math.gcd(int(to_hz), int(from_hz)) for v in (to_hz, from_hz))
    expected = scipy.signal.resample_poly(x.astype(float), up, down, axis=1, padtype="line")
    ours = resample(x, from_hz, to_hz)
    assert ours.dtype == np.float32
    assert ours.shape == (2, math.ceil(samples * up / down))
    np.testing.assert_allclose(ours, expected, atol=2e-5)


@pytest.mark.parametrize("frequency_hz", [1.0, 10.0, 35.0])
@pytest.mark.parametrize(("from_hz", "to_hz"), [(360.0, 100.0), (100.0, 360.0), (257.0, 100.0)])
def test_resampling_keeps_amplitude_and_phase_of_a_sine(frequency_hz: float, from_hz: float, to_hz: float) -> None:
    def sine(rate_hz: float) -> np.ndarray:
        return np.sin(2 * math.pi * frequency_hz * np.arange(round(10 * rate_hz)) / rate_hz + 0.3)

    out = resample(sine(from_hz)[None].astype(np.float32), from_hz, to_hz)[0]
    inner = slice(round(to_hz), round(9 * to_hz))
    np.testing.assert_allclose(out[inner], sine(to_hz)[inner], atol=5e-3)


def test_resampling_removes_what_would_alias_by_more_than_40_db() -> None:
    x = np.sin(2 * math.pi * 80 * np.arange(3600) / 360)[None].astype(np.float32)
    out = resample(x, 360, 100)[0, 100:-100]
    assert 20 * math.log10(np.sqrt(np.mean(out**2)) / np.sqrt(0.5)) < -40


def test_resampling_keeps_gaps_and_what_is_around_them() -> None:
    t = np.arange(3600) / 360
    x = np.stack([np.sin(2 * math.pi * 2 * t), np.full(3600, np.nan), np.cos(2 * math.pi * t)]).astype(np.float32)
    whole = resample(np.nan_to_num(x), 360, 100)
    x[0, 1800:2160] = np.nan
    out = resample(x, 360, 100)
    assert np.isnan(out[0, 500:600]).all()
    assert np.isnan(out[1]).all()
    assert np.isfinite(out[0, :500]).all()
    assert np.isfinite(out[0, 600:]).all()
    np.testing.assert_allclose(out[0, :480], whole[0, :480], atol=1e-3)
    np.testing.assert_allclose(out[2], whole[2], atol=1e-6)
    assert resample(x, 360, 360) is x


# Calibration


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_temperature_is_the_minimum_that_scipy_finds(kind: str, factor: float) -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(scale=2, size=(4000, 4))
    if kind == "multilabel":
        target = (rng.random(true.shape) < scipy.special.expit(true)).astype(float)
    else:
        p = scipy.special.softmax(true, axis=1).cumsum(axis=1)
        target = np.eye(4)[(rng.random((4000, 1)) > p[:, :3]).sum(axis=1)]
    logits = factor * true

    def log_loss(t: float) -> float:
        z = logits / t
        if kind == "multilabel":
            return float(np.mean(np.logaddexp(0, z) - target * z))
        return float(np.mean(scipy.special.logsumexp(z, axis=1) - (target * z).sum(axis=1)))

    best = scipy.optimize.minimize_scalar(log_loss, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-8}).x
    ours = temperature(torch.from_numpy(logits), torch.from_numpy(target), kind)
    assert ours == pytest.approx(best, rel=1e-4)
    assert ours == pytest.approx(factor, rel=0.1)


def test_temperature_stays_between_a_tenth_and_ten() -> None:
    logits, target = torch.tensor([[1.0], [-1.0]]).double(), torch.tensor([[1.0], [0.0]]).double()
    assert temperature(logits, target, "multilabel") == pytest.approx(0.1)
    assert temperature(logits, 1 - target, "multilabel") == pytest.approx(10.0)


# Windows


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.integers(1, 120), st.integers(1, 7))
def test_windows_cover_every_sample_of_every_item_and_nothing_else(lengths: list[int], window: int, size: int) -> None:
    windows = Windows.cover(np.array(lengths), window)
    assert (np.diff(windows.length) >= 0).all()
    assert (windows.start >= 0).all()
    assert (windows.start + windows.length <= np.array(lengths)[windows.item]).all()
    for item, n in enumerate(lengths):
        of_item = windows.item == item
        assert (windows.length[of_item] == min(n, window)).all()
        starts = np.sort(windows.start[of_item])
        assert starts[0] == 0
        assert starts[-1] == max(n - window, 0)
        steps = np.diff(starts)
        assert ((steps >= 1) & (steps <= max(window // 2, 1))).all(), "windows overlap by half or more"
        assert not len(steps) or np.ptp(steps) <= 1, "spread evenly: no sample counts much more than its neighbours"
    parts = [np.arange(len(windows.item))[part] for part in windows.batches(size)]
    assert np.concatenate(parts).tolist() == list(range(len(windows.item)))
    assert all(0 < len(part) <= size for part in parts)


# Augmentation: what each option does, alone

ALL_ON = Augment(
    scale=0.2, lead_dropout=0.3, noise_db=(6, 24), time_mask=0.2, frequency_mask_hz=8, flip=0.5, crop=0.5
)  # fmt: skip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def augmented(batch: Batch, seed: int = 0, **options: object) -> Batch:
    return augment(batch, Augment(**options), 100.0, generator(seed))


def beats(records: int, samples: int = 1000, length: int | None = None) -> Batch:
    """Records about zero, some with a lead missing."""
    batch = ecgs([length or samples] * records)
    mask = batch.lead_mask.clone()
    mask[1::4, 3] = False
    signal = batch.signal - batch.signal.mean(dim=2, keepdim=True)
    batch = replace(batch, signal=signal * mask[:, :, None], lead_mask=mask)
    return batch if length is None or length == samples else padded(batch, samples - length)


def test_no_augmentation_returns_the_signal_as_it_is() -> None:
    batch = beats(4)
    out = augmented(batch)
    assert torch.equal(out.signal, batch.signal)
    assert torch.equal(out.lead_mask, batch.lead_mask)
    assert Augment().model_dump() == {
        "scale": 0, "crop": 1, "lead_dropout": 0, "noise_db": None, "noise_from": None, "time_mask": 0,
        "frequency_mask_hz": 0, "flip": 0,
    }  # fmt: skip


def test_augmentation_is_the_same_for_the_same_generator_and_another_for_another() -> None:
    batch = beats(8)
    one, again, other = (augment(batch, ALL_ON, 100.0, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one.signal, again.signal)
    assert torch.equal(one.lead_mask, again.lead_mask)
    assert not torch.equal(one.signal, other.signal)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    augment(batch, ALL_ON, 100.0, generator())
    assert torch.equal(torch.get_rng_state(), state), "only the given generator is drawn from"


@pytest.mark.parametrize(
    "options",
    [{"scale": 0.2}, {"noise_db": (0, 10)}, {"frequency_mask_hz": 8}, {"time_mask": 0.2}, {"lead_dropout": 0.3}],
    ids=lambda options: next(iter(options)),
)
def test_each_augmentation_leaves_padding_and_missing_leads_zero(options: dict[str, object]) -> None:
    batch = ecgs([1000, 640, 30, 1000, 900, 350, 1000, 77])
    batch = replace(batch, lead_mask=beats(8).lead_mask)
    batch = replace(batch, signal=batch.signal * batch.lead_mask[:, :, None])
    out = augmented(batch, **options)
    assert not torch.equal(out.signal, batch.signal)
    assert batch.length is not None
    beyond = ~valid_steps(batch.length, 1000)
    assert not out.signal.transpose(1, 2)[beyond].any()
    assert not out.signal[~out.lead_mask].any()
    assert not (out.lead_mask & ~batch.lead_mask).any(), "a missing lead does not come back"
    for field in ("length", "metadata", "target", "index"):
        assert getattr(out, field) is getattr(batch, field)


def test_scale_multiplies_each_record_by_one_factor_within_its_bounds() -> None:
    batch = beats(200)
    factor = augmented(batch, scale=0.2).signal[:, 0, :] / batch.signal[:, 0, :]
    assert (factor.amax(dim=1) - factor.amin(dim=1)).max() < 1e-3
    each = factor.median(dim=1).values
    assert 0.8 <= each.min() < 0.82
    assert 1.18 < each.max() <= 1.2


def test_flip_turns_that_share_of_the_records_over() -> None:
    batch = beats(400)
    sign = (augmented(batch, flip=0.25).signal * batch.signal).sum(dim=(1, 2)).sign()
    assert torch.equal(augmented(batch, flip=0.25).signal, batch.signal * sign[:, None, None])
    assert (sign < 0).float().mean() == pytest.approx(0.25, abs=0.07)
    assert torch.equal(augmented(batch, flip=1.0).signal, -batch.signal)


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_lead_dropout_drops_that_share_and_keeps_at_least_one_lead_of_every_record(share: float) -> None:
    batch = beats(300)
    mask = batch.lead_mask.clone()
    mask[:50] = False
    mask[:50, 7] = True
    batch = replace(batch, lead_mask=mask, signal=batch.signal * mask[:, :, None])
    out = augmented(batch, lead_dropout=share)
    assert out.lead_mask.any(dim=1).all()
    assert torch.equal(out.signal, batch.signal * out.lead_mask[:, :, None])
    # a record that would lose all its leads keeps them all
    lost = (mask & ~out.lead_mask)[50:].float().sum() / mask[50:].float().sum()
    assert lost == pytest.approx(share * (1 - share**11), abs=0.05)
    one_lead = replace(batch, signal=batch.signal[:, :1], lead_mask=torch.ones(300, 1, dtype=torch.bool))
    assert augmented(one_lead, lead_dropout=share).lead_mask.all()


def snr_db(before: Batch, after: Batch) -> Tensor:
    """Return (B,): signal to noise over what is valid of a record, the signal about each lead's mean."""
    rows = []
    for row in range(len(before.signal)):
        signal, noisy = alone(before, row), alone(replace(after, length=before.length), row)
        mask = signal.lead_mask[0]
        noise = (noisy.signal - signal.signal)[0, mask]
        clean = signal.signal[0, mask]
        clean = clean - clean.mean(dim=1, keepdim=True)
        rows.append(10 * torch.log10(clean.square().mean() / noise.square().mean()))
    return torch.stack(rows)


@pytest.mark.parametrize("decibels", [0.0, 12.0, 24.0])
def test_noise_has_the_signal_to_noise_ratio_asked_for(decibels: float) -> None:
    batch = beats(32)
    complete = replace(batch, lead_mask=torch.ones_like(batch.lead_mask), signal=ecgs([1000] * 32).signal)
    complete = replace(complete, signal=complete.signal - complete.signal.mean(dim=2, keepdim=True))
    ratios = snr_db(complete, augmented(complete, noise_db=(decibels, decibels)))
    assert (ratios - decibels).abs().max() <= 0.5


def test_noise_ratios_are_spread_over_the_range_asked_for() -> None:
    batch = ecgs([1000] * 200)
    batch = replace(batch, signal=batch.signal - batch.signal.mean(dim=2, keepdim=True))
    ratios = snr_db(batch, augmented(batch, noise_db=(6, 24)))
    assert 5.5 <= ratios.min() < 8
    assert 22 < ratios.max() <= 24.5


@pytest.mark.parametrize("what", ["padding", "missing leads", "offset"])
def test_noise_of_a_record_does_not_depend_on_what_is_not_its_ecg(what: str) -> None:
    batch = ecgs([1000] * 64)
    batch = replace(batch, signal=batch.signal - batch.signal.mean(dim=2, keepdim=True))
    if what == "padding":
        batch = replace(batch, signal=batch.signal[:, :, :250].contiguous())
        batch = padded(batch, 750)
    elif what == "missing leads":
        mask = torch.arange(12).expand(64, 12) < 2
        batch = replace(batch, signal=batch.signal * mask[:, :, None], lead_mask=mask)
    else:
        batch = replace(batch, signal=batch.signal + 5.0)
    assert snr_db(batch, augmented(batch, noise_db=(10, 10))).median() == pytest.approx(10.0, abs=1.0)


def test_noise_is_baseline_wander_and_muscle_noise_of_unit_power() -> None:
    uniform = torch.rand(6, 3, 3000, generator=generator())
    share = torch.linspace(0, 1, 6)[:, None, None]
    noise = coloured_noise(uniform, 300.0, share)
    torch.testing.assert_close(noise.square().mean(dim=2), torch.ones(6, 3), rtol=1e-3, atol=1e-3)
    power = torch.fft.rfft(noise, dim=2).abs().square()
    frequency = torch.fft.rfftfreq(3000, 1 / 300.0)
    wander = power[:, :, (frequency >= 0.04) & (frequency <= 0.71)].sum(dim=2) / power.sum(dim=2)
    muscle = power[:, :, (frequency >= 19.9) & (frequency <= 45.1)].sum(dim=2) / power.sum(dim=2)
    torch.testing.assert_close(wander, share[:, :, 0].expand(6, 3), rtol=0, atol=1e-3)
    torch.testing.assert_close(muscle, 1 - share[:, :, 0].expand(6, 3), rtol=0, atol=1e-3)


def test_time_mask_blanks_one_stretch_of_all_leads_no_longer_than_asked() -> None:
    batch = ecgs([1000] * 200)
    out = augmented(batch, time_mask=0.3)
    level = batch.signal.mean(dim=2, keepdim=True)
    blank = torch.isclose(out.signal, level, atol=1e-6).all(dim=1)
    assert torch.equal(torch.where(blank[:, None], 0.0, out.signal), batch.signal * ~blank[:, None, :])
    stretches = (blank[:, 1:] & ~blank[:, :-1]).sum(dim=1) + blank[:, 0]
    assert stretches.max() == 1
    assert 280 < blank.sum(dim=1).max() <= 301
    assert blank.any(dim=0).float().mean() > 0.9, "anywhere in the record"


def test_time_mask_makes_no_step_of_an_offset() -> None:
    batch = ecgs([1000] * 20)
    raised = replace(batch, signal=0.1 * batch.signal + 1.5)
    out = augmented(raised, time_mask=0.3)
    before, after = (x.diff(dim=2).abs().amax() for x in (raised.signal, out.signal))
    assert after < before + 0.5, "0 mV beside an offset of 1.5 mV would be a step of 1.5 mV"


def test_time_mask_leaves_the_rest_of_a_short_record() -> None:
    batch = padded(ecgs([200] * 100), 800)
    out = augmented(batch, time_mask=0.5)
    left = (out.signal[:, :, :200] == batch.signal[:, :, :200]).all(dim=1).sum(dim=1)
    assert (out.signal[:, :, 200:] == 0).all()
    assert left.min() >= 99
    assert left.min() < 110


def test_band_stop_removes_a_band_and_nothing_else() -> None:
    x = ecgs([1000, 1000]).signal
    width, place = torch.tensor([[5.0], [10.0]]), torch.tensor([[0.5], [0.2]])
    before, after = (torch.fft.rfft(s, dim=2) for s in (x, band_stop(x, 100.0, width, place)))
    frequency = torch.fft.rfftfreq(1000, 1 / 100.0)
    for row, (low, high) in enumerate([(17.5, 22.5), (6.0, 16.0)]):
        inside = (frequency >= low) & (frequency <= high)
        assert after[row][:, inside].abs().max() < 1e-3
        torch.testing.assert_close(after[row][:, ~inside], before[row][:, ~inside], rtol=1e-3, atol=1e-3)


def test_frequency_mask_removes_a_band_no_wider_than_asked_below_40_hz() -> None:
    batch = ecgs([1000] * 200)
    out = augmented(batch, frequency_mask_hz=8)
    before, after = (torch.fft.rfft(s, dim=2).abs().square().sum(dim=1) for s in (batch.signal, out.signal))
    frequency = torch.fft.rfftfreq(1000, 1 / 100.0)
    gone = after < 1e-4 * before
    assert not gone[:, frequency > 40.1].any()
    assert 7 < gone.sum(dim=1).max() / 10 <= 8.2
    assert (gone.sum(dim=1) > 0).float().mean() > 0.9
    kept = torch.where(gone, before, after)
    torch.testing.assert_close(kept, before, rtol=1e-2, atol=1e-2)


def test_recorded_noise_of_every_other_record_has_the_ratio_asked_for() -> None:
    batch = ecgs([1000] * 200)
    batch = replace(batch, signal=batch.signal - batch.signal.mean(dim=2, keepdim=True))
    tone = torch.sin(2 * torch.pi * 3 * torch.arange(5000) / 100).repeat(2, 1) + 7.0
    noisy = augment(batch, Augment(noise_db=(6, 6)), 100.0, generator(), [tone])
    assert (snr_db(batch, noisy) - 6).abs().max() < 0.5
    spectrum = torch.fft.rfft(noisy.signal - batch.signal, dim=2).abs().square()
    of_tone = spectrum[:, :, 28:33].sum(dim=(1, 2)) / spectrum.sum(dim=(1, 2))
    assert 70 < int((of_tone > 0.9).sum()) < 130


def test_drawn_noise_is_of_unit_power_one_kind_a_record_another_place_a_lead() -> None:
    ramps = [torch.arange(3000.0).repeat(2, 1), torch.rand(1, 500, generator=generator())]
    kind, place = torch.tensor([0.1, 0.9]), torch.rand(2, 2, 3, generator=generator())
    noise = drawn_noise(ramps, kind, place, 400)
    torch.testing.assert_close(noise.square().mean(dim=(1, 2)), torch.ones(2))
    assert (noise.mean(dim=2).abs() < 1e-5).all()
    assert not torch.equal(noise[1, 0], noise[1, 1])
    # a row that goes up but where the record begins anew: the first kind
    assert (noise[0].diff(dim=1) > 0).float().mean() > 0.99
