"""PrismModel: views + encoders + fusion + heads, from raw millivolts to probabilities; save and load."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ecgprism.batch import Batch, InputSpec, MetadataSchema
from ecgprism.config import Branch, Component, Config
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.files import whole
from ecgprism.registry import check_options, find
from ecgprism.sources.contract import Task
from ecgprism.views.contract import View

FORMAT_VERSION = 1
WEIGHTS, CARD = "model.safetensors", "model.json"


@dataclass(frozen=True)
class Output:
    """Logits (B, K): fused and of each view's own head; `embeddings` (B, D) fused and by view.

    `present` bool (B, V) tells which views the record has, whatever was hidden from the fusion.
    """

    fused: Tensor
    views: Mapping[str, Tensor]
    present: Tensor
    embeddings: Mapping[str, Tensor]


@dataclass
class Card:
    """What a model must be told beside its weights, all of it decided on training and validation data.

    `thresholds` by class (multi-label), `temperature` of the calibrated probabilities, `lead_aliases` the spellings of
    the data set it was trained on, `fingerprint` of that data.
    """

    aggregate: Literal["mean", "max"] = "mean"
    thresholds: list[float] | None = None
    temperature: float = 1.0
    lead_aliases: dict[str, str] = field(default_factory=dict)
    task: str = ""
    fingerprint: str = ""
    versions: dict[str, str] = field(default_factory=dict)


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
        card: Card | None = None,
    ) -> None:
        """Build every branch, then the fusion and the heads (one fused, one per view)."""
        super().__init__()
        for name in views:
            if not re.fullmatch(r"[A-Za-z]\w*", name) or name == "fused" or hasattr(nn.ModuleDict(), name):
                raise ConfigError(f"views.{name}: {name!r} cannot be a view's name; choose another, such as wave")
        self.spec, self.task, self.branches, self.dim = spec, task, dict(views), dim
        self.fusion_component = fusion or Component(name="concat")
        self.card = card or Card()
        self.views, self.encoders = nn.ModuleDict(), nn.ModuleDict()
        for name, branch in self.branches.items():
            at = f"views.{name}"
            view = _build("views", branch.view, at, (spec,))
            encoder = _build("encoders", branch.encoder, at, (view.shape, dim))
            self.views[name], self.encoders[name] = view, encoder
        self.fusion = _build("fusions", self.fusion_component, "fusion", (tuple(self.branches), dim))
        self.head = self.fusion.head(dim, len(task.classes))
        # With a single view its own head would be a second opinion on the same embedding.
        own = self.branches if len(self.branches) > 1 else ()
        self.view_heads = nn.ModuleDict({name: nn.Linear(dim, len(task.classes)) for name in own})

    @classmethod
    def from_config(cls, config: Config, spec: InputSpec, task: Task) -> PrismModel:
        """Build the model that a configuration describes."""
        return cls(spec, task, config.views, config.fusion, config.dim, Card(aggregate=config.aggregate))

    def forward(self, batch: Batch, keep: Tensor | None = None) -> Output:
        """Return logits and embeddings; `keep` bool (B, V) hides views that are there (view dropout, ablation)."""
        return self.decide(self.encode(batch), self.present(batch), keep)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return tokens (B, N, D) by view."""
        return {name: self.encoders[name](view(batch)) for name, view in self.views.items()}

    def decide(self, tokens: Mapping[str, Tensor], present: Tensor, keep: Tensor | None = None) -> Output:
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

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return calibrated probabilities (B, K) of logits (B, K)."""
        scaled = logits / self.card.temperature
        return scaled.softmax(dim=1) if self.task.kind == "multiclass" else scaled.sigmoid()

    def shapes(self) -> dict[str, tuple[str, int]]:
        """Return by view the shape it gives and the number of parameters of its encoder."""
        return {name: (str(view.shape), parameters(self.encoders[name])) for name, view in self.views.items()}

    def save(self, folder: str | Path) -> None:
        """Write model.safetensors and model.json, each whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        card = {
            "format": FORMAT_VERSION,
            "leads": self.spec.leads,
            "rate_hz": self.spec.rate_hz,
            "unit": "mV",
            "window": self.spec.window,
            "metadata": self.spec.metadata.to_json(),
            "kind": self.task.kind,
            "classes": self.task.classes,
            "views": {name: branch.model_dump() for name, branch in self.branches.items()},
            "fusion": self.fusion_component.model_dump(),
            "dim": self.dim,
            **asdict(self.card),
        }
        card["versions"] = versions()
        state = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        with whole(folder / WEIGHTS) as path:
            save_file(state, path)
        with whole(folder / CARD) as path:
            path.write_text(json.dumps(card, indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> PrismModel:
        """Read a saved model, ready for inference; executes no code from the files. Raises EcgprismError."""
        folder = Path(folder)
        for name in (CARD, WEIGHTS):
            if not (folder / name).is_file():
                raise EcgprismError(f"{folder}: no model here ({name} is missing): not a finished training run")
        try:
            card = json.loads((folder / CARD).read_text())
        except ValueError as error:
            raise EcgprismError(f"{folder / CARD}: damaged ({error})") from None
        if card["format"] != FORMAT_VERSION:
            raise EcgprismError(f"{folder / CARD}: format {card['format']}, expected {FORMAT_VERSION}")
        spec = InputSpec(
            tuple(card["leads"]), card["rate_hz"], card["window"], MetadataSchema.from_json(card["metadata"])
        )
        model = cls(
            spec,
            Task(card["kind"], tuple(card["classes"])),
            {name: Branch.model_validate(branch) for name, branch in card["views"].items()},
            Component.model_validate(card["fusion"]),
            card["dim"],
            Card(**{key: card[key] for key in Card.__dataclass_fields__}),
        )
        try:
            model.load_state_dict(load_file(folder / WEIGHTS))
        except Exception as error:  # safetensors and torch raise kinds of their own
            raise EcgprismError(f"{folder / WEIGHTS}: does not fit {CARD} ({str(error).splitlines()[0]})") from None
        return model.eval()


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
    missing = [lead for lead in wanted if lead not in held]
    if missing:
        raise ConfigError(f"leads: {missing[0]!r} is not in {where}; there are: {', '.join(held)}")
    return tuple(wanted)
