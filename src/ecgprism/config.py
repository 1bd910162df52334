"""YAML -> validated configuration. Components stay `name: {options}`; their constructors are their schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ecgprism.errors import ConfigError, nearest, one_line


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True)


class Component(_Section):
    """A registered component by name, with options for its constructor: `name` or `{name: {option: value}}`."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "name" not in value:
            if len(value) != 1:
                raise ValueError("expected a name, or one name with its options: {name: {option: value}}")
            name, options = next(iter(value.items()))
            return {"name": name, "options": options or {}}
        return value

    def plain(self) -> str | dict[str, Any]:
        """Return the form that YAML has."""
        return {self.name: self.options} if self.options else self.name


class Branch(_Section):
    """One view and the encoder that reads it; without one, the model takes what fits the view's shape."""

    view: Component
    encoder: Component | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"view": value} if isinstance(value, str) else value

    @property
    def read_by(self) -> str:
        """The name of the encoder."""
        return self.encoder.name if self.encoder else "what fits"

    def plain(self) -> dict[str, Any]:
        """Return the form that YAML has."""
        return {"view": self.view.plain()} | ({"encoder": self.encoder.plain()} if self.encoder else {})


class Augment(_Section):
    """Augmentations of a training batch; each is off at its default. All act on the signal, so every view sees them.

    `noise_db` is the range of signal power over noise power; `noise_from` names a folder with the records of the noise
    stress test database: every other record then gets noise from their first halves.
    """

    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    lead_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    noise_db: tuple[float, float] | None = None
    noise_from: Path | None = None
    time_mask: Annotated[float, Field(ge=0, lt=1)] = 0.0
    frequency_mask_hz: Annotated[float, Field(ge=0)] = 0.0
    flip: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _loud_enough(self) -> Augment:
        if self.noise_from is not None and self.noise_db is None:
            raise ValueError("noise_from needs noise_db, the range of its loudness")
        return self

    @field_validator("noise_db")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError("expected [lowest, highest] in dB")
        return value


Share = Annotated[float, Field(ge=0, lt=1)]


Logger = Literal["tensorboard", "csv", "mlflow", "wandb"]


Precision = Literal["auto", "32", "32-true", "bf16", "bf16-mixed", "16", "16-mixed"]


class Train(_Section):
    """How to train.

    `auxiliary` is the weight of the mean loss of the views' own heads; by default their number, so that each view
    learns as hard as it would alone. `view_dropout` is the share of views hidden from the fusion, or [first epoch, last
    epoch], linear between them. `coalitions` is the weight of a second decision on every record, from a random part of
    its views: the whole is then trained on every record, and so is what is left when views are missing. `balance` keeps
    the fastest view from starving the others; `modulation` is how hard `ogm_ge` brakes it.

    `lr_scale` multiplies the rate of parts (`encoders`, `encoders.wave`, `fusion`, `heads`); parts under `freeze` learn
    nothing, up to the epoch `thaw_epoch` (from 1) where that is given: a linear probe first, then all.

    `device`, `devices` (one, or its number in a list) and `precision` are as Lightning has them; `auto` takes an
    accelerator where there is one, and bfloat16 where that computes in it.
    """

    epochs: Annotated[int, Field(gt=0, le=100_000)] = 30
    batch_size: Annotated[int, Field(gt=0, le=65_536)] = 64
    lr: Annotated[float, Field(gt=0, le=1)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    seed: Annotated[int, Field(ge=0)] = 0
    clip: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    class_weights: Literal["none", "balanced"] = "none"
    auxiliary: Annotated[float, Field(ge=0)] | None = None
    view_dropout: Share | tuple[Share, Share] = 0.0
    coalitions: Annotated[float, Field(ge=0)] = 1.0
    balance: Literal["none", "ogm_ge", "blend"] = "none"
    modulation: Annotated[float, Field(gt=0)] = 0.3
    lr_scale: dict[str, Annotated[float, Field(gt=0, le=100)]] = Field(default_factory=dict)
    freeze: list[str] = Field(default_factory=list)
    thaw_epoch: Annotated[int, Field(gt=1)] | None = None
    monitor: Literal["macro_auroc", "macro_f1", "loss"] = "macro_auroc"
    patience: Annotated[int, Field(gt=0)] = 10
    loggers: list[Logger] = ["tensorboard"]
    precision: Precision = "auto"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: Literal[1] | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1)] = 1

    @field_validator("precision", mode="before")
    @classmethod
    def _as_lightning_has_it(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("devices", mode="before")
    @classmethod
    def _one_device(cls, value: Any) -> Any:
        many = len(value) > 1 if isinstance(value, list) else value != 1
        if many:
            raise ValueError(
                "a training takes one device: 1, or [2] for the third one; several trainings at a time are `ecgprism "
                "ablate --workers`, or one command each"
            )
        return value


class Distill(_Section):
    """Trained runs that teach this one: `soft` is the share of their probabilities in the targets, the rest are labels.

    A recording is judged by the teachers that were not trained on it, where there are any.
    """

    teachers: Annotated[list[Path], Field(min_length=1)]
    soft: Annotated[float, Field(gt=0, le=1)] = 0.7


class Config(_Section):
    """A training run, whole.

    Of `classes` (all of the task), those with fewer than `min_positives` positive items in the corpus are left out.
    `fold` k/n makes part k of n of the corpus, by patient, the test split; `3/5 of train` does so with what its own
    test split leaves, `3/5 of 2/5` with what part 2/5 leaves: teachers of a distillation have to be trained so.
    `plugins` are Python files of your own that register views, encoders or fusions; they are run, and kept with the
    run. `init` is a trained run whose weights the training begins with, as far as they fit; `distill` names runs that
    teach it.
    """

    corpus: Path
    task: str | None = None
    window_s: Annotated[float, Field(ge=0.5, le=86_400)] = 10.0  # below half a second there is not one beat
    leads: list[str] | None = None
    classes: list[str] | None = None
    min_positives: Annotated[int, Field(ge=0)] = 0
    fold: Annotated[str, Field(pattern=r"^[1-9]\d*/[1-9]\d*( of (train|[1-9]\d*/[1-9]\d*))?$")] | None = None
    views: Annotated[dict[str, Branch], Field(min_length=1)]
    fusion: Component = Component(name="concat")
    dim: Annotated[int, Field(gt=0, le=16_384)] = 128
    aggregate: Literal["mean", "max"] = "mean"
    augment: Augment = Augment()
    train: Train = Train()
    plugins: list[Path] = Field(default_factory=list)
    init: Path | None = None
    distill: Distill | None = None

    def __init__(self, **data: Any) -> None:
        """Take what YAML has. Raises ConfigError naming the key, the value and the nearest valid choice."""
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ConfigError(_problem(error)) from None

    @field_validator("views", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {name: name for name in value} if isinstance(value, list | tuple) else value

    @field_validator("fold")
    @classmethod
    def _one_of_several(cls, value: str | None) -> str | None:
        for part in value.removesuffix(" of train").split(" of ") if value else ():
            k, of = map(int, part.split("/"))
            if of < 2 or k > of:
                raise ValueError("expected a part of a cross-validation, such as 1/5")
        return value

    def plain(self) -> dict[str, Any]:
        """Return the whole configuration, defaults filled in, as YAML holds it."""
        out = self.model_dump(mode="json", exclude={"views", "fusion"})
        out["views"] = {name: branch.plain() for name, branch in self.views.items()}
        out["fusion"] = self.fusion.plain()
        return out


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply `key.key=value` overrides (values in YAML). Raises ConfigError with file and key."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such configuration file")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML ({one_line(error)})") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys such as corpus: and views:")
    for override in overrides:
        _override(tree, override)
    return parse_config(tree, str(path))


def parse_config(tree: Mapping[str, Any], where: str = "config") -> Config:
    """Validate plain data. Raises ConfigError naming the key, the value and the nearest valid choice."""
    if not all(isinstance(key, str) for key in tree):
        raise ConfigError(f"{where}: keys must be words; {next(k for k in tree if not isinstance(k, str))!r} is none")
    try:
        return Config(**tree)
    except ConfigError as error:
        raise ConfigError(f"{where}{str(error).removeprefix('config')}") from None


def _problem(error: ValidationError) -> str:
    """Return the first problem of a configuration: the key, the value and the nearest valid choice."""
    # an unknown key first: the one that is missing may be it, misspelled
    problem = min(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    keys = [str(part) for part in problem["loc"]]
    at = f"config: {'.'.join(keys)}"
    if problem["type"] == "extra_forbidden":
        return f"{at}: unknown key{nearest(keys[-1], _known_keys(keys[:-1]))}"
    if problem["type"] == "missing":
        return f"{at}: is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{at} = {problem['input']!r}: {message[0].lower()}{message[1:]}"


def _known_keys(path: Sequence[str]) -> list[str]:
    """Return the keys of the section at `path`."""
    section: type[BaseModel] = Config
    if path and path[0] == "views":
        section = Branch if len(path) == 2 else Component
    elif path:
        sections: dict[str, type[BaseModel]] = {"augment": Augment, "train": Train, "distill": Distill}
        section = sections.get(path[0], Component)
    return list(section.model_fields)


def _override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"{override!r}: expected key=value, as in train.epochs=3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{override!r}: the value is not valid YAML") from None
    *parents, last = key.split(".")
    at = tree
    for parent in parents:
        below = at.get(parent)
        if isinstance(below, str):  # `encoder: mlp` with an option given for it: `encoder.mlp.hidden=64`
            below = {below: {}}
        elif below is None:
            below = {}
        elif not isinstance(below, dict):
            raise ConfigError(f"{override!r}: {parent} is no section")
        at[parent] = below
        at = below
    at[last] = value
