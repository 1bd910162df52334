"""Warm start: weights of a trained model by view and encoder, rows of heads by class; parts that train slower or later.

Axis legend: K classes, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ecgprism.config import Train
from ecgprism.errors import ConfigError, nearest
from ecgprism.model.prism import PrismModel
from ecgprism.registry import all_options

HEADS = "heads"


@dataclass(frozen=True)
class PartOutcome:
    """One part of a model and what became of it: empty `problem` where its weights were taken.

    `remark` says what they had been trained on, where that is not what they get now.
    """

    part: str
    problem: str = ""
    remark: str = ""

    def __str__(self) -> str:
        """Return a line for the user."""
        remark = f", though {self.remark}" if self.remark else ""
        return f"{self.part}: {f'new ({self.problem})' if self.problem else f'loaded{remark}'}"


def take_weights(model: PrismModel, trained: PrismModel) -> list[PartOutcome]:
    """Copy what fits from a trained model; return what became of every part.

    An encoder is taken when view, encoder and shapes are the same, the fusion when all views are too; a row of a head
    when its class has the same name.
    """
    found = [_encoder(model, trained, name) for name in model.branches]
    same_views = list(model.branches) == list(trained.branches) and model.dim == trained.dim
    if not same_views or model.fusion_component != trained.fusion_component:
        found.append(PartOutcome("fusion", "other views, sizes or way of fusion"))
    else:
        found.append(_copied("fusion", model.fusion, trained.fusion))
    return [*found, *_heads(model, trained)]


def untouched(model: PrismModel) -> list[PartOutcome]:
    """Return the encoders of a model that begins without any trained weights."""
    return [PartOutcome(f"encoders.{name}", "no init") for name in model.branches]


def _encoder(model: PrismModel, trained: PrismModel, name: str) -> PartOutcome:
    part = f"encoders.{name}"
    if name not in trained.branches:
        return PartOutcome(part, "not in the trained model" + nearest(name, trained.branches))
    own, other = model.branches[name], trained.branches[name]
    if own.view.name != other.view.name or own.read_by != other.read_by:
        return PartOutcome(part, f"there it is {other.view.name} read by {other.read_by}")
    if own.view.name == "metadata" and _columns(model) != _columns(trained):
        return PartOutcome(part, "other metadata columns or categories")
    if model.spec.leads != trained.spec.leads and len(model.spec.leads) == len(trained.spec.leads):
        return PartOutcome(part, f"there it is of leads {', '.join(trained.spec.leads)}")
    outcome = _copied(part, model.encoders[name], trained.encoders[name])
    return outcome if outcome.problem else replace(outcome, remark=_other_input(model, trained, name))


def _other_input(model: PrismModel, trained: PrismModel, name: str) -> str:
    """Return what an encoder of the same shape saw there that it does not see here."""
    name_of_view = model.branches[name].view.name
    here, there = (all_options("views", name_of_view, each.branches[name].view.options, 1) for each in (model, trained))
    differing = [key for key in here if here[key] != there.get(key)]
    if differing:
        told = [f"{key}: {there.get(key)}, here {here[key]}" for key in differing]
        return f"there it saw {name_of_view} with {'; '.join(told)}"
    if model.spec.rate_hz != trained.spec.rate_hz:
        return f"there at {trained.spec.rate_hz:g} Hz, here at {model.spec.rate_hz:g} Hz"
    return ""


def _columns(model: PrismModel) -> list[tuple[str, tuple[str, ...] | None]]:
    return [(column.name, column.categories) for column in model.spec.metadata.columns]


def _copied(part: str, module: nn.Module, trained: nn.Module) -> PartOutcome:
    own, other = module.state_dict(), trained.state_dict()
    for name in own.keys() | other.keys():
        if name not in own or name not in other or own[name].shape != other[name].shape:
            shapes = (tuple(s[name].shape) if name in s else None for s in (own, other))
            return PartOutcome(part, f"{name} has other shapes: {' and '.join(map(str, shapes))}")
    module.load_state_dict(other)
    return PartOutcome(part)


def _heads(model: PrismModel, trained: PrismModel) -> Iterator[PartOutcome]:
    pairs = [("head", model.head, trained.head)]
    pairs += [
        (f"view_heads.{name}", head, trained.view_heads[name])
        for name, head in model.view_heads.items()
        if name in trained.view_heads
    ]
    shared = [name for name in model.task.classes if name in trained.task.classes]
    for part, own, other in pairs:
        if not shared:
            yield PartOutcome(part, "other classes")
        elif not _rows(own, other, model.task.classes, trained.task.classes):
            yield PartOutcome(part, "another size")
        elif len(shared) < len(model.task.classes):
            yield PartOutcome(f"{part}, classes {', '.join(shared)}")
        else:
            yield PartOutcome(part)


def _rows(own: nn.Module, other: nn.Module, classes: Sequence[str], trained: Sequence[str]) -> bool:
    """Copy what belongs to classes of the same name, along the axis of length K; return whether the sizes fit."""
    state, held = own.state_dict(), other.state_dict()
    moved: dict[str, Tensor] = {}
    for name, tensor in state.items():
        axis = getattr(own, "class_axis", 0) % tensor.ndim
        if name not in held or tensor.shape[axis] != len(classes) or held[name].shape[axis] != len(trained):
            return False
        at = torch.tensor([k for k, label in enumerate(classes) if label in trained])
        of = torch.tensor([list(trained).index(classes[k]) for k in at.tolist()])
        rows = held[name].index_select(axis, of)
        if rows.shape != tensor.index_select(axis, at).shape:
            return False
        moved[name] = tensor.clone().index_copy_(axis, at, rows)
    own.load_state_dict(moved)
    return True


def parts_of(model: PrismModel) -> dict[str, list[nn.Module]]:
    """Return by the name that a configuration gives them the parts of a model."""
    parts: dict[str, list[nn.Module]] = {"encoders": list(model.encoders.values()), "fusion": [model.fusion]}
    parts[HEADS] = [model.head, *model.view_heads.values()]
    return parts | {f"encoders.{name}": [encoder] for name, encoder in model.encoders.items()}


def check_parts(model: PrismModel, options: Train) -> None:
    """Raise ConfigError for a part that the model does not have."""
    known = parts_of(model)
    for key, names in (("freeze", options.freeze), ("lr_scale", options.lr_scale)):
        for name in names:
            if name not in known:
                raise ConfigError(f"train.{key}: there is no part {name!r}{nearest(name, known)}")
    if options.thaw_epoch is not None and not options.freeze:
        raise ConfigError("train.thaw_epoch: nothing is frozen; name parts with train.freeze")
    if options.thaw_epoch is not None and options.thaw_epoch > options.epochs:
        raise ConfigError(f"train.thaw_epoch = {options.thaw_epoch}: the training has {options.epochs} epochs")
    if HEADS in options.freeze:
        raise ConfigError("train.freeze: the heads must learn; there are: encoders, encoders.VIEW, fusion")


def never_learnt(options: Train, parts: Sequence[PartOutcome]) -> list[str]:
    """Return a note on frozen encoders that began without trained weights, and so stay as they were drawn."""
    new = [each.part for each in parts if each.problem and each.part.startswith("encoders.")]
    drawn = [name for name in new if {name, "encoders"} & set(options.freeze)]
    if not drawn:
        return []
    until = "to the end" if options.thaw_epoch is None else f"until epoch {options.thaw_epoch}"
    return [f"train.freeze: {', '.join(drawn)} begin without trained weights, and stay random {until}"]


def parameter_groups(model: PrismModel, options: Train) -> list[dict[str, object]]:
    """Return the optimiser's groups: by rate, and norms and biases without decay (Loshchilov and Hutter 2019)."""
    scale = _by_parameter(model, options.lr_scale)
    rates = sorted({scale.get(id(p), 1.0) for p in model.parameters()}, reverse=True)
    groups: list[dict[str, object]] = []
    for rate in rates:
        held = [p for p in model.parameters() if scale.get(id(p), 1.0) == rate]
        decayed, plain = [p for p in held if p.ndim > 1], [p for p in held if p.ndim <= 1]
        groups += [
            {"params": params, "weight_decay": decay, "lr": options.lr * rate}
            for params, decay in ((decayed, options.weight_decay), (plain, 0.0))
        ]
    return groups


def _by_parameter(model: PrismModel, scales: Mapping[str, float]) -> dict[int, float]:
    """Return the scale of each parameter that has one; the name of a single encoder goes before `encoders`."""
    parts = parts_of(model)
    found: dict[int, float] = {}
    for name in sorted(scales, key=len):
        found |= {id(p): scales[name] for module in parts[name] for p in module.parameters()}
    return found


def freeze(model: PrismModel, options: Train, epoch: int) -> None:
    """Let the parts that are frozen learn nothing in an epoch (from 0): no gradients, norms as they were."""
    if not options.freeze:
        return
    frozen = options.thaw_epoch is None or epoch + 1 < options.thaw_epoch
    for name in options.freeze:
        for module in parts_of(model)[name]:
            module.requires_grad_(not frozen)
            module.train(not frozen)
