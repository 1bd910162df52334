"""PrismModel: views + encoders + fusion + heads, from raw millivolts to probabilities; save and load."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ecgprism.config import Branch, Component, Config
from ecgprism.ecg.leads import STANDARD_LEADS
from ecgprism.ecg.recording import Recording
from ecgprism.errors import ConfigError, EcgprismError, first_problem, one_line
from ecgprism.interface.card import FORMAT_VERSION, Card, InputSpec, Kind, MetadataSchema, Task
from ecgprism.interface.storage import MODEL, PLUGINS, read_model, write_model
from ecgprism.model.batch import Batch
from ecgprism.model.inspection import ViewArray, inspect_views
from ecgprism.model.migration import upgraded
from ecgprism.model.views.contract import Shape, View
from ecgprism.registry import all_options, check_options, find, plugins_of


@dataclass(frozen=True)
class Output:
    """Logits (B, K): fused and of each view's own head; `embeddings` (B, D) fused and by view.

    `present` bool (B, V) tells which views the record has, whatever was hidden from the fusion.
    """

    fused: Tensor
    views: Mapping[str, Tensor]
    present: Tensor
    embeddings: Mapping[str, Tensor]


class PrismModel(nn.Module):
    """One network over several views of one ECG.

    The only inputs are those of a Batch: raw millivolts (B, L, T) and metadata (B, M). Shapes are inferred from
    `spec`; a branch that cannot fit raises ConfigError naming the branch and both shapes.
    """

    def __init__(
        self,
        spec: InputSpec,
        task: Task,
        views: Mapping[str, Branch],
        fusion: Component | None = None,
        dim: int = 128,
    ) -> None:
        """Build every branch, then the fusion and the heads (one fused, one per view).

        A branch without an encoder gets the one that fits its view's shape.
        """
        super().__init__()
        for name in views:
            if not re.fullmatch(r"[A-Za-z]\w*", name) or name == "fused" or hasattr(nn.ModuleDict(), name):
                raise ConfigError(f"views.{name}: {name!r} cannot be a view's name; choose another, such as wave")
        self.spec, self.task, self.branches, self.dim = spec, task, dict(views), dim
        self.card = Card.of(spec, task, tuple(views))
        self.views, self.encoders = nn.ModuleDict(), nn.ModuleDict()
        for name, branch in self.branches.items():
            at = f"views.{name}"
            view = _build("views", branch.view, at, (spec,))
            chosen = branch.encoder or Component(name=fitting_encoder(view.shape))
            self.branches[name] = Branch(view=branch.view, encoder=chosen)
            self.views[name], self.encoders[name] = view, _build("encoders", chosen, at, (view.shape, dim))
        fusion = fusion or Component(name="concat")
        self.fusion = _build("fusions", fusion, "fusion", (tuple(self.branches), dim))
        # with every option, as a saved model has it
        self.fusion_component = _complete("fusions", fusion, 2)
        self.head = self.fusion.head(dim, len(task.classes))
        # With a single view its own head would be a second opinion on the same embedding.
        own = self.branches if len(self.branches) > 1 else ()
        self.view_heads = nn.ModuleDict({name: nn.Linear(dim, len(task.classes)) for name in own})

    @classmethod
    def of(
        cls,
        views: Sequence[str] | Mapping[str, Any],
        classes: Sequence[str],
        *,
        kind: Kind = "multilabel",
        leads: Sequence[str] = STANDARD_LEADS,
        rate_hz: float = 100.0,
        window_s: float = 10.0,
        metadata: MetadataSchema | None = None,
        fusion: str = "concat",
        dim: int = 128,
    ) -> PrismModel:
        """Build an untrained model of named views: `["waveform", "spectrogram"]`, or as a configuration has them."""
        named = views if isinstance(views, Mapping) else {name: name for name in views}
        try:
            branches = {name: Branch.model_validate(branch) for name, branch in named.items()}
        except ValidationError as error:
            raise ConfigError(f"views: {first_problem(error)}") from None
        spec = InputSpec(tuple(leads), float(rate_hz), round(window_s * rate_hz), metadata or MetadataSchema())
        return cls(spec, Task(kind, tuple(classes)), branches, Component(name=fusion), dim)

    @classmethod
    def from_config(cls, config: Config, spec: InputSpec, task: Task) -> PrismModel:
        """Build the model that a configuration describes."""
        model = cls(spec, task, config.views, config.fusion, config.dim)
        model.card.aggregate = config.aggregate
        return model

    def forward(self, batch: Batch, keep: Tensor | None = None) -> Output:
        """Return logits and embeddings; `keep` bool (B, V) hides views that are there (view dropout, ablation)."""
        return self.fuse(self.encode(batch), self.present(batch), keep)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return tokens (B, N, D) by view."""
        return {name: self.encoders[name](view(batch)) for name, view in self.views.items()}

    def fuse(self, tokens: Mapping[str, Tensor], present: Tensor, keep: Tensor | None = None) -> Output:
        """Return logits and embeddings of tokens (B, N, D); `present` and `keep` are bool (B, V)."""
        seen = present if keep is None else present & keep
        fused = self.fusion(tokens, seen)
        embeddings = {name: token.mean(dim=1) for name, token in tokens.items()}
        own = {name: head(embeddings[name]) for name, head in self.view_heads.items()}
        return Output(
            fused=self.head(fused, own, seen).float(),
            views={name: logits.float() for name, logits in own.items()},
            present=present,
            embeddings={"fused": fused, **embeddings},
        )

    def present(self, batch: Batch) -> Tensor:
        """Return bool (B, V): which views each record has."""
        return torch.stack([cast(View, view).present(batch) for view in self.views.values()], dim=1)

    def shapes(self) -> dict[str, tuple[str, int]]:
        """Return by view the shape it gives and the number of parameters of its encoder."""
        return {name: (str(view.shape), parameters(self.encoders[name])) for name, view in self.views.items()}

    def views_of(self, recording: Recording) -> dict[str, ViewArray]:
        """Return by name what each view makes of a whole recording, and what stands along its axes (Hz, s, names).

        Raises EcgprismError for a recording with none of the model's leads.
        """
        return inspect_views(dict(self.views.items()), self.spec, recording)

    def save(self, folder: str | Path, card: Card | None = None) -> None:
        """Write model.safetensors with the card (its own by default) in its header, whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        card = (card or self.card).model_copy(update={"versions": versions(), "format": FORMAT_VERSION})
        network = {
            "views": {name: _described(branch) for name, branch in self.branches.items()},
            "fusion": self.fusion_component.model_dump(),
            "dim": self.dim,
            "plugins": plugins_of(type(part) for part in (*self.views.values(), *self.encoders.values(), self.fusion)),
        }
        state = {key: value.detach().cpu().numpy() for key, value in self.state_dict().items()}
        write_model(folder / MODEL, state, card, network)

    @classmethod
    def load(cls, model: str | Path) -> PrismModel:
        """Read a saved model, ready for inference; executes no code from the file. Raises EcgprismError."""
        card, network, state = read_model(model)
        try:
            network, state = upgraded(network, state, card.format)
            views = {name: Branch.model_validate(branch) for name, branch in network["views"].items()}
            fusion, dim = Component.model_validate(network["fusion"]), int(network["dim"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EcgprismError(f"{model}: damaged: the network is not described ({one_line(error)})") from None
        if tuple(views) != card.views:
            raise EcgprismError(f"{model}: damaged: the network's views are not those of the card")
        try:
            loaded = cls(card.spec, card.task, views, fusion, dim)
        except ConfigError as error:
            # a model never names code that is run: whoever opens it says which file
            files = [f"--plugin {Path(model, PLUGINS, name)}" for name in network.get("plugins", ())]
            hint = f"; it was trained with {' '.join(files)}: give that, if you trust the file" if files else ""
            raise EcgprismError(f"{model}: {error}{hint}") from None
        loaded.card = card
        try:
            loaded.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
        except RuntimeError as error:
            raise EcgprismError(f"{model}: the weights do not fit the network ({one_line(error)})") from None
        return loaded.eval()


def fitting_encoder(shape: Shape) -> str:
    """Return the encoder that a view's shape suggests: over time, over time and frequency, else a perceptron."""
    return {"LT": "cnn_bilstm", "LFT": "crnn2d", "DN": "bilstm"}.get(shape.axes, "mlp")


def _described(branch: Branch) -> dict[str, Any]:
    """Return a branch with every option, so that no later default changes a saved model."""
    assert branch.encoder is not None  # a model has chosen one
    whole = Branch(view=_complete("views", branch.view, 1), encoder=_complete("encoders", branch.encoder, 2))
    return whole.model_dump()


def _complete(kind: str, component: Component, given_by_caller: int) -> Component:
    return Component(name=component.name, options=all_options(kind, component.name, component.options, given_by_caller))


def _build(kind: str, component: Component, at: str, given: tuple[Any, ...]) -> Any:
    options = check_options(kind, component.name, component.options, len(given), at)
    try:
        return find(kind, component.name)(*given, **options)
    except ConfigError as error:
        raise ConfigError(f"{at}: {error}") from None


def parameters(module: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {name: importlib.metadata.version(name) for name in ("ecgprism", "torch", "lightning", "numpy")}


def common_leads(wanted: Iterable[str] | None, held: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return the leads a model is built for: those wanted, all of the corpus by default."""
    if wanted is None:
        return held
    wanted = () if isinstance(wanted, str) else tuple(wanted)
    if not wanted or len(set(wanted)) < len(wanted):
        raise ConfigError("leads: expected a list of different leads, as in ['I', 'II']")
    missing = [lead for lead in wanted if lead not in held]
    if missing:
        raise ConfigError(f"leads: {missing[0]!r} is not in {where}; there are: {', '.join(held)}")
    return tuple(wanted)
