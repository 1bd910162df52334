"""Every registered component against its contract: a new one is tested before its author writes a test.

Everything here is parametrised over the registry and built with defaults. `VIEW -> ENCODER` in a test's name is a
branch of the model whose view the encoder accepts.
"""

from __future__ import annotations

import json
import math
import pickle
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from ecgprism import registry
from ecgprism.config import Branch, Component
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.interface.answers import probabilities_of
from ecgprism.interface.card import InputSpec, Kind
from ecgprism.model.encoders.contract import Encoder
from ecgprism.model.prism import PrismModel
from ecgprism.model.views.contract import Features, View, valid_steps
from ecgprism.prediction.views import views_of
from ecgprism.registry import components, find
from ecgprism.simulator.simulation import simulate
from tests.contract_parts import (
    BRANCHES,
    ENCODERS,
    PARTS,
    TASK,
    VIEWS,
    fits,
    fusion_of,
    fusions,
    prism,
    views,
)

from .examples import (
    DIM,
    ONE_LEAD,
    TWELVE_LEADS,
    alone,
    ecgs,
    encoder_of,
    padded,
    unreached,
    unsettled,
    view_of,
    without_dropout,
    without_leads,
)

PADDINGS = (1, 37, 300)


MIXED = (1000, 640, 30)  # samples: a whole window, some of it, and less than any spectral window


TOLERANCE = 1e-5


MISFITS = [(view, encoder) for view in VIEWS for encoder in ENCODERS if not fits(view, encoder)]


FIRST_ENCODER = dict(reversed(BRANCHES))


branches = pytest.mark.parametrize(("view_name", "encoder_name"), BRANCHES, ids=map(" -> ".join, BRANCHES))


def largest(difference: Tensor) -> float:
    return float(difference.detach().abs().max())


def valid_part(view: View, features: Features, row: int) -> Tensor:
    """Return what counts of one record: on a timed view the steps before its length."""
    x = features.x[row]
    return x if not view.shape.timed or features.length is None else x[..., : int(features.length[row])]


@views
@pytest.mark.parametrize("spec", [TWELVE_LEADS, ONE_LEAD], ids=["12 leads 100 Hz 10 s", "1 lead 300 Hz 30 s"])
def test_view_gives_the_shape_it_says(name: str, spec: InputSpec) -> None:
    view = view_of(name, spec)
    for samples in (spec.window, spec.window + 250, 30):
        x, length = view(ecgs([samples, samples], spec))
        kept = len(view.shape.sizes) - view.shape.timed
        assert x.shape[1 : kept + 1] == view.shape.sizes[:kept]
        assert x.ndim == len(view.shape.sizes) + 1
        assert samples != spec.window or x.shape[1:] == view.shape.sizes
        assert len(view.shape.axes) == len(view.shape.sizes)
        assert x.dtype == torch.float32
        assert x.isfinite().all()
        assert length is None


@views
def test_view_tells_the_valid_steps_of_padded_records_and_leaves_the_others_zero(name: str) -> None:
    view = view_of(name)
    x, length = view(ecgs(MIXED))
    assert x.isfinite().all()
    if not view.shape.timed:
        assert length is None
        return
    assert length is not None
    assert ((length >= 1) & (length <= x.shape[-1])).all()
    assert length[0] == x.shape[-1] > length[1] > length[2]
    beyond = ~valid_steps(length, x.shape[-1])
    assert (x.movedim(-1, 1)[beyond] == 0).all()


@views
def test_view_looks_at_something_and_is_differentiable_in_the_signal_if_it_looks_at_that(name: str) -> None:
    view, batch = view_of(name), ecgs(MIXED)
    before = view(batch).x
    reads_signal = not torch.equal(before, view(replace(batch, signal=batch.signal * 2)).x)
    reads_metadata = not torch.equal(before, view(replace(batch, metadata=batch.metadata + 1)).x)
    assert reads_signal or reads_metadata
    if reads_signal:
        signal = batch.signal.clone().requires_grad_()
        x = view(replace(batch, signal=signal)).x
        (gradient,) = torch.autograd.grad((x * torch.randn_like(x)).sum(), signal)
        assert gradient.isfinite().all()
        assert (gradient.abs().amax(dim=2) > 0).all(), "a lead of a record does not reach the view"


@views
@pytest.mark.parametrize("samples", PADDINGS)
@pytest.mark.parametrize("lengths", [MIXED, (1000, 1000)], ids=["mixed", "full"])
def test_padding_changes_no_view(name: str, samples: int, lengths: tuple[int, ...]) -> None:
    view, batch = view_of(name), ecgs(lengths)
    before, after = view(batch), view(padded(batch, samples))
    for row in range(len(lengths)):
        assert largest(valid_part(view, before, row) - valid_part(view, after, row)) <= TOLERANCE


@views
def test_view_of_a_record_does_not_depend_on_its_batch_mates(name: str) -> None:
    view, batch = view_of(name), ecgs(MIXED)
    together = view(batch)
    for row in range(len(MIXED)):
        by_itself = view(alone(batch, row))
        assert largest(valid_part(view, together, row) - by_itself.x[0]) <= TOLERANCE


@views
@pytest.mark.parametrize("lengths", [MIXED, (1000, 1000, 1000)], ids=["mixed", "full"])
def test_missing_leads_are_zero_in_a_view_and_change_no_other_lead(name: str, lengths: tuple[int, ...]) -> None:
    view = view_of(name)
    if "L" not in view.shape.axes:
        pytest.skip(f"{name} has no lead axis: {view.shape}")
    lead = view.shape.axes.index("L")
    batch = ecgs(lengths)
    before = view(batch).x.movedim(lead + 1, 1)
    after = view(without_leads(batch, 1, (0, 5))).x.movedim(lead + 1, 1)
    assert (after[1, [0, 5]] == 0).all()
    assert (before[1, [0, 5]] != 0).any()
    others = [k for k in range(before.shape[1]) if k not in (0, 5)]
    assert largest(before[1, others] - after[1, others]) <= TOLERANCE
    assert largest(before[[0, 2]] - after[[0, 2]]) <= TOLERANCE


@views
def test_view_says_which_records_have_it(name: str) -> None:
    view, batch = view_of(name), ecgs((1000, 1000, 1000))
    everything = replace(batch, metadata=torch.ones_like(batch.metadata))
    first_without = torch.where(torch.arange(3)[:, None] == 0, torch.nan, everything.metadata)
    some = replace(without_leads(everything, 0, range(12)), metadata=first_without)
    assert view.present(everything).tolist() == [True] * 3
    assert view.present(some).tolist() == [False, True, True]
    assert view.present(some).dtype == torch.bool
    assert view(some).x.isfinite().all()


@views
def test_view_is_computed_in_float32_under_autocast(name: str) -> None:
    view, batch = view_of(name), ecgs(MIXED)
    plain = view(batch).x
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = view(batch).x
    assert mixed.dtype == torch.float32
    assert largest(plain - mixed) <= TOLERANCE


def branch(view_name: str, encoder_name: str) -> tuple[View, Encoder]:
    view = view_of(view_name)
    return view, unsettled(encoder_of(encoder_name, view.shape))


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_accepts_at_least_one_view(name: str) -> None:
    assert name in {encoder for _, encoder in BRANCHES}


@views
def test_at_least_one_encoder_accepts_the_view(name: str) -> None:
    assert name in FIRST_ENCODER


@pytest.mark.parametrize(("view_name", "encoder_name"), MISFITS, ids=map(" -> ".join, MISFITS))
def test_encoder_refuses_a_view_that_does_not_fit_with_both_shapes(view_name: str, encoder_name: str) -> None:
    shape = view_of(view_name).shape
    with pytest.raises(ConfigError) as raised:
        find("encoders", encoder_name)(shape, DIM)
    assert re.fullmatch(
        rf"encoder {encoder_name} takes [^;]{{5,}}; the view gives {re.escape(str(shape))}", str(raised.value)
    )
    with pytest.raises(ConfigError) as raised:
        prism({"wave": (view_name, encoder_name)})
    assert str(raised.value).startswith(f"views.wave: encoder {encoder_name} takes ")
    assert str(raised.value).endswith(f"the view gives {shape}")


@branches
def test_encoder_gives_tokens(view_name: str, encoder_name: str) -> None:
    view, encoder = branch(view_name, encoder_name)
    for lengths in (MIXED, (1000, 1000, 1000), (30, 30, 30)):
        tokens = encoder(view(ecgs(lengths)))
        assert tokens.ndim == 3
        assert (tokens.shape[0], tokens.shape[2]) == (3, DIM)
        assert tokens.isfinite().all()
        assert largest(tokens[0] - tokens[1]) > 1e-4, "different records give the same token"


@branches
def test_gradients_reach_every_parameter_of_the_encoder(view_name: str, encoder_name: str) -> None:
    view, encoder = branch(view_name, encoder_name)
    tokens = without_dropout(encoder)(view(ecgs((1000, 640, 1000, 640))))
    assert unreached(encoder, (tokens * torch.randn_like(tokens)).sum()) == []


@branches
def test_encoder_gives_a_record_the_same_tokens_in_a_batch_as_alone(view_name: str, encoder_name: str) -> None:
    view, encoder = branch(view_name, encoder_name)
    batch = ecgs(MIXED)
    together = encoder(view(batch))
    for row in range(len(MIXED)):
        assert largest(together[row] - encoder(view(alone(batch, row)))[0]) <= TOLERANCE


@branches
@pytest.mark.parametrize("lengths", [MIXED, (1000, 1000)], ids=["mixed", "full"])
def test_padding_changes_no_output_of_an_encoder(view_name: str, encoder_name: str, lengths: tuple[int, ...]) -> None:
    view, encoder = branch(view_name, encoder_name)
    batch = ecgs(lengths)
    before = encoder(view(batch))
    for samples in PADDINGS:
        assert largest(before - encoder(view(padded(batch, samples)))) <= TOLERANCE


@branches
@pytest.mark.parametrize("lengths", [MIXED, (1000, 1000)], ids=["mixed", "full"])
def test_padding_changes_no_statistic_in_training(view_name: str, encoder_name: str, lengths: tuple[int, ...]) -> None:
    batch = ecgs(lengths)
    results = []
    for samples in (0, *PADDINGS):
        view, encoder = branch(view_name, encoder_name)
        tokens = without_dropout(encoder)(view(padded(batch, samples) if samples else batch))
        results.append((tokens, dict(encoder.named_buffers())))
    unpadded, buffers = results[0]
    for tokens, padded_buffers in results[1:]:
        assert largest(unpadded - tokens) <= 5 * TOLERANCE
        for key, value in buffers.items():
            assert largest(value - padded_buffers[key]) <= TOLERANCE, key


def tokens_of(records: int) -> dict[str, Tensor]:
    """Return tokens by view, not as many of each."""
    generator = torch.Generator().manual_seed(0)
    return {part: torch.randn(records, 1 + 2 * k, DIM, generator=generator) for k, part in enumerate(PARTS)}


def all_but(record: int, view: int, records: int = 3) -> Tensor:
    present = torch.ones(records, len(PARTS), dtype=torch.bool)
    present[record, view] = False
    return present


@fusions
def test_fusion_gives_one_vector_whatever_the_order_and_number_of_tokens(name: str) -> None:
    fusion, tokens, present = fusion_of(name), tokens_of(3), all_but(1, 1)
    fused = fusion(tokens, present)
    assert fused.shape == (3, DIM)
    assert fused.isfinite().all()
    assert torch.equal(fused, fusion(dict(reversed(tokens.items())), present))
    for record in range(3):
        by_itself = fusion({k: t[record : record + 1] for k, t in tokens.items()}, present[record : record + 1])
        assert largest(by_itself[0] - fused[record]) <= TOLERANCE


@fusions
@pytest.mark.parametrize("view", range(len(PARTS)), ids=PARTS)
def test_fusion_ignores_the_tokens_of_a_missing_view_and_sees_those_of_a_present_one(name: str, view: int) -> None:
    fusion, tokens, present = fusion_of(name), tokens_of(3), all_but(1, view)
    fused = fusion(tokens, present)
    for value in (0.0, -3.0, torch.nan):
        changed = {k: t.clone() for k, t in tokens.items()}
        changed[PARTS[view]][1] = value
        assert torch.equal(fused, fusion(changed, present)), f"a missing view's tokens {value} show in the output"
    changed = {k: t.clone() for k, t in tokens.items()}
    changed[PARTS[view]][[0, 2]] *= -1
    moved = (fused - fusion(changed, present)).abs().amax(dim=1) > 1e-4
    assert moved.tolist() == [True, False, True]


@fusions
@pytest.mark.parametrize("view", range(len(PARTS)), ids=PARTS)
def test_fusion_depends_on_which_views_are_there(name: str, view: int) -> None:
    fusion, tokens = fusion_of(name), tokens_of(3)
    everything = fusion(tokens, torch.ones(3, len(PARTS), dtype=torch.bool))
    moved = (everything - fusion(tokens, all_but(1, view))).abs().amax(dim=1) > 1e-4
    assert moved.tolist() == [False, True, False]


@fusions
def test_fusion_of_a_record_without_any_view_is_finite(name: str) -> None:
    fusion, tokens = fusion_of(name), tokens_of(3)
    present = torch.ones(3, len(PARTS), dtype=torch.bool)
    present[1] = False
    fused = fusion(tokens, present)
    assert fused.isfinite().all()
    assert torch.equal(fused[1], fusion({k: torch.zeros_like(t) for k, t in tokens.items()}, present)[1])


def test_late_weighs_the_logits_of_the_views_that_are_there_class_by_class() -> None:
    head = fusion_of("late").head(DIM, 2)
    head.load_state_dict({
        "weights": torch.tensor([[0.0, 1.0], [0.0, 0.0], [math.log(2), 2.0]]), "nothing": torch.tensor([7.0, 8.0]),
    })  # fmt: skip
    own = {part: torch.tensor([[1.0 + k, 10.0 + k]]).repeat(3, 1) for k, part in enumerate(PARTS)}
    own[PARTS[1]][1] = torch.nan
    present = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    logits = head(torch.zeros(3, DIM), own, present)
    e = math.e
    expected = [
        [(1 + 2 + 2 * 3) / 4, (10 * e + 11 + 12 * e**2) / (e + 1 + e**2)],
        [(1 + 2 * 3) / 3, (10 * e + 12 * e**2) / (e + e**2)],
        [7.0, 8.0],
    ]
    torch.testing.assert_close(logits, torch.tensor(expected))


@fusions
def test_gradients_reach_every_parameter_of_the_fusion_and_every_token(name: str) -> None:
    fusion = without_dropout(fusion_of(name))
    tokens = {k: t.requires_grad_() for k, t in tokens_of(32).items()}
    present = torch.rand(32, len(PARTS), generator=torch.Generator().manual_seed(0)) < 0.6
    fused = fusion(tokens, present)
    assert unreached(fusion, (fused * torch.randn_like(fused)).sum()) == []
    for k, part in enumerate(PARTS):
        gradient = tokens[part].grad
        assert gradient is not None
        assert torch.equal(gradient.abs().amax(dim=(1, 2)) > 0, present[:, k])
        assert (gradient[present[:, k]].abs().amax(dim=2) > 0).all(), f"a token of {part} is not used"


@fusions
def test_not_even_nan_from_a_missing_view_reaches_a_gradient_of_the_fusion(name: str) -> None:
    gradients = []
    for value in (0.0, torch.nan):
        fusion, tokens, present = without_dropout(fusion_of(name)), tokens_of(3), all_but(1, 2)
        tokens[PARTS[2]][1] = value
        inputs = [token.requires_grad_() for token in tokens.values()]
        fusion(tokens, present).sum().backward()
        gradients.append([each.grad for each in [*fusion.parameters(), *inputs]])
    for zero, nan in zip(*gradients, strict=True):
        assert torch.equal(zero, nan)


def prism_of_everything(spec: InputSpec = TWELVE_LEADS, fusion: str = "concat") -> PrismModel:
    return prism({f"own_{view}": (view, encoder) for view, encoder in FIRST_ENCODER.items()}, spec, fusion)


def test_a_misfit_branch_is_named_among_fitting_ones() -> None:
    (fitting, encoder), (view, wrong) = BRANCHES[0], MISFITS[-1]
    with pytest.raises(ConfigError, match=rf"^views\.second: encoder {wrong} .*{re.escape(str(view_of(view).shape))}$"):
        prism({"first": (fitting, encoder), "second": (view, wrong)})


def test_metadata_view_without_metadata_names_its_branch() -> None:
    with pytest.raises(ConfigError, match=r"^views\.who: .*metadata"):
        prism({"who": ("metadata", "mlp")}, replace(TWELVE_LEADS, metadata=type(TWELVE_LEADS.metadata)()))


@pytest.mark.parametrize("key", ["fused", "st.ft", "items", "training", "_modules", ""])
def test_name_of_a_branch_that_the_model_cannot_hold_is_a_config_error(key: str) -> None:
    view, encoder = BRANCHES[0]
    with pytest.raises(ConfigError, match=re.escape(key or "''")):
        prism({key: (view, encoder), "other": (view, encoder)})


@views
def test_model_of_one_view_saves_loads_and_predicts(name: str, tmp_path: Path) -> None:
    model, batch = prism({"only": (name, FIRST_ENCODER[name])}), ecgs(MIXED)
    output = model(batch)
    assert output.fused.shape == (3, len(TASK.classes))
    assert output.fused.isfinite().all()
    assert not output.views, "a single view's own head would be a second opinion on the same embedding"
    assert set(output.embeddings) == {"fused", "only"}
    assert output.present.shape == (3, 1)
    model.save(tmp_path)
    assert torch.equal(PrismModel.load(tmp_path)(batch).fused, output.fused)


@fusions
def test_model_of_every_view_saves_and_loads_to_the_same_bits(name: str, tmp_path: Path) -> None:
    model, batch = prism_of_everything(fusion=name), ecgs(MIXED)
    model.card.temperature, model.card.thresholds = 1.5, [0.25, 0.5, 0.75]
    model.save(tmp_path)
    loaded = PrismModel.load(tmp_path)
    ours, theirs = model(batch), loaded(batch)
    assert torch.equal(ours.fused, theirs.fused)
    assert torch.equal(ours.present, theirs.present)
    assert list(ours.views) == list(theirs.views) == list(model.branches)
    assert list(ours.embeddings) == list(theirs.embeddings) == ["fused", *model.branches]
    for key in ours.views:
        assert torch.equal(ours.views[key], theirs.views[key])
    assert loaded.card == model.card.model_copy(update={"versions": loaded.card.versions})
    assert (loaded.spec, loaded.task, loaded.dim) == (model.spec, model.task, model.dim)
    assert loaded.card.thresholds == model.card.thresholds
    assert not loaded.training


def test_options_of_the_components_are_saved_with_the_model(tmp_path: Path) -> None:
    described = {
        "wave": Branch(
            view=Component(name="waveform", options={"scale": "record"}),
            encoder=Component(name="resnet1d", options={"width": 4, "stages": 2}),
        )
    }
    model = PrismModel(TWELVE_LEADS, TASK, described, Component(name="concat", options={"dropout": 0.5}), DIM).eval()
    model.save(tmp_path)
    loaded, batch = PrismModel.load(tmp_path), ecgs(MIXED)
    assert torch.equal(loaded(batch).fused, model(batch).fused)
    assert torch.allclose(loaded(replace(batch, signal=3 * batch.signal)).fused, model(batch).fused, atol=TOLERANCE)


def test_a_saved_model_is_safetensors_and_json_and_loading_it_unpickles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prism_of_everything().save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "model.safetensors"}
    weights = (tmp_path / "model.safetensors").read_bytes()
    (header_size,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8 : 8 + header_size])
    tensors = [entry for key, entry in header.items() if key != "__metadata__"]
    assert len(weights) == 8 + header_size + max(entry["data_offsets"][1] for entry in tensors)
    assert json.loads((tmp_path / "model.json").read_text())["leads"] == list(TWELVE_LEADS.leads)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("loading a model must not unpickle")

    for module, function in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, function, refuse)
    PrismModel.load(tmp_path)


def test_prediction_of_a_record_depends_neither_on_batch_mates_nor_on_padding() -> None:
    model, batch = prism_of_everything(), ecgs(MIXED)
    together = model(batch)
    for samples in PADDINGS:
        assert largest(together.fused - model(padded(batch, samples)).fused) <= TOLERANCE
    for row in range(len(MIXED)):
        by_itself = model(alone(batch, row))
        assert largest(together.fused[row] - by_itself.fused[0]) <= TOLERANCE
        for key, logits in together.views.items():
            assert largest(logits[row] - by_itself.views[key][0]) <= TOLERANCE


def test_records_without_metadata_or_without_any_lead_get_a_prediction() -> None:
    model, batch = prism_of_everything(), ecgs((1000, 1000, 1000))
    nothing = replace(without_leads(batch, 1, range(12)), metadata=torch.full_like(batch.metadata, torch.nan))
    output = model(nothing)
    assert output.fused.isfinite().all()
    assert output.fused.isfinite().all()
    who = list(model.branches).index("own_metadata")
    assert not output.present[:, who].any()
    assert not output.present[1].any()
    assert output.present[[0, 2]].any(dim=1).all()
    assert largest(output.fused[0] - output.fused[2]) > 1e-4, "without metadata the signal still counts"


def test_a_hidden_view_does_not_reach_the_fused_prediction() -> None:
    model, batch = prism_of_everything(), ecgs((1000, 1000, 1000))
    everything = model(batch)
    for k, key in enumerate(model.branches):
        keep = torch.ones(3, len(model.branches), dtype=torch.bool)
        keep[:, k] = False
        shown = everything.present[:, k]
        hidden = model(batch, keep)
        assert torch.equal((hidden.fused - everything.fused).abs().amax(dim=1) > 1e-5, shown)
        assert torch.equal(hidden.views[key], everything.views[key]), "its own head still answers"
        assert torch.equal(hidden.present, everything.present)


def test_gradients_reach_the_signal_and_every_parameter_of_the_model() -> None:
    model, batch = without_dropout(prism_of_everything()), ecgs((1000, 640, 1000, 640))
    keep = ~torch.eye(4, len(model.branches), dtype=torch.bool)
    signal = batch.signal.clone().requires_grad_()
    output = model(replace(batch, signal=signal), keep)
    logits = torch.stack([output.fused, *output.views.values()])
    assert unreached(model, (logits * torch.randn_like(logits)).sum()) == []
    assert signal.grad is not None
    assert signal.grad.isfinite().all()
    assert (signal.grad.abs().amax(dim=2) > 0).all()


def test_probabilities_of_exclusive_classes_sum_to_one_and_those_of_labels_are_independent() -> None:
    logits = torch.tensor([[2.0, 0.0, -2.0], [800.0, -800.0, 3.0]], dtype=torch.float64)
    for temperature in (1.0, 2.5):
        exclusive, independent = (probabilities_of(logits.numpy(), kind, temperature) for kind in get_args(Kind)[::-1])
        np.testing.assert_allclose(exclusive, (logits / temperature).softmax(dim=1), rtol=1e-12)
        np.testing.assert_allclose(independent, (logits / temperature).sigmoid(), rtol=1e-12)


@pytest.mark.parametrize("kind", ["views", "encoders", "fusions", "sources"])
def test_a_component_of_another_module_cannot_take_a_name(kind: str) -> None:
    name, known = next(iter(components(kind).items()))
    stranger = type(known.__name__, (), {"__module__": "elsewhere", "__qualname__": known.__qualname__})
    try:
        with pytest.raises(ConfigError, match=f"{name!r} is already taken"):
            registry.register(kind, name)(stranger)
    finally:
        registry.register(kind, name)(known)


def test_a_model_of_named_views_takes_the_encoders_that_fit() -> None:
    model = PrismModel.of(["waveform", "spectrogram", "spectrum"], ["a", "b"], leads=["I", "II"], window_s=4)
    assert {name: branch.read_by for name, branch in model.branches.items()} == {
        "waveform": "cnn_bilstm", "spectrogram": "crnn2d", "spectrum": "mlp",
    }  # fmt: skip
    assert (model.spec.window, model.task.kind) == (400, "multilabel")
    with pytest.raises(ConfigError, match="there is no 'wavelet'"):
        PrismModel.of(["wavelet"], ["a"])
    with pytest.raises(ConfigError, match="views: "):
        PrismModel.of({"wave": {"vue": "waveform"}}, ["a"])


def test_every_view_says_what_stands_along_its_axes(tmp_path: Path) -> None:
    model = prism_of_everything()
    recording = simulate(0, seed=1, rate_hz=100, duration_s=12.0).recording
    found = views_of(model, recording)
    assert list(found) == list(model.branches)
    for name, view in found.items():
        assert view.values.shape == tuple(len(along) for along in view.axes.values()), name
        assert "ViewArray" in repr(view)
    by_view = {model.branches[name].view.name: view for name, view in found.items()}
    assert by_view["waveform"].axes["L"] == list(model.spec.leads)
    assert by_view["waveform"].axes["T"][-1] == pytest.approx(11.99)
    assert by_view["spectrogram"].axes["T"][0] == pytest.approx(0.32)
    f_hz = by_view["spectrum"].axes["F"]
    assert 0.4 < float(f_hz[0]) < 1
    assert 39 < float(f_hz[-1]) <= 40
    assert by_view["metadata"].axes["F"] == ["age", "age missing", "sex=female", "sex=male", "sex missing"]
    row = dict(zip(by_view["metadata"].axes["F"], by_view["metadata"].values.tolist(), strict=True))
    assert row[f"sex={recording.metadata['sex']}"] == 1
    for name, view in model.views_of(recording).items():  # the same, from the model at hand
        np.testing.assert_array_equal(view.values, found[name].values)
        assert view.axes == found[name].axes
    with pytest.raises(EcgprismError, match="has none of the model's leads"):
        model.views_of(replace(recording, signal=recording.signal[:1], leads=("VX",)))
