"""The card of a model: what goes in, what comes out, and what was decided on training and validation data.

Axis legend: B batch, K classes, M metadata columns, N items.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Annotated, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecgprism.ecg.leads import LEADS
from ecgprism.ecg.metadata import is_missing
from ecgprism.ecg.rows import rows_of
from ecgprism.errors import ConfigError, EcgprismError, first_problem, nearest

FORMAT_VERSION: Literal[3] = 3
Kind = Literal["multilabel", "multiclass"]
Aggregate = Literal["mean", "max"]


def is_multiclass(kind: str) -> bool:
    """Tell the two kinds apart, and a misspelt one from both."""
    if kind not in get_args(Kind):
        raise ValueError(f"kind {kind!r}; expected one of {', '.join(get_args(Kind))}")
    return kind == "multiclass"


@dataclass(frozen=True)
class Task:
    """What is classified: `multilabel` (any number of classes hold) or `multiclass` (exactly one)."""

    kind: Kind
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raise ConfigError for what no task can be: another kind, a class that is no text or stands twice."""
        if self.kind not in get_args(Kind):
            raise ConfigError(f"kind = {self.kind!r}{nearest(str(self.kind), get_args(Kind))}")
        for name in self.classes:
            if not isinstance(name, str) or not name.strip():
                raise ConfigError(f"classes: {name!r} is no name")
        if len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"classes: {max(self.classes, key=self.classes.count)!r} stands twice")


@dataclass(frozen=True)
class Column:
    """A metadata column: numeric (standardised by `mean` and `std`) or categorical (one of `categories`)."""

    name: str
    categories: tuple[str, ...] | None = None
    mean: float = 0.0
    std: float = 1.0


class Table(Protocol):
    """Columns by name: a mapping of lists or arrays, a DataFrame."""

    def __getitem__(self, name: str, /) -> Any:
        """Return a column."""
        ...

    def __contains__(self, name: object, /) -> bool:
        """Return whether there is a column of this name."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Yield the names of the columns."""
        ...


@dataclass(frozen=True)
class MetadataSchema:
    """The metadata columns a model knows, with statistics and vocabularies from its training split alone."""

    columns: tuple[Column, ...] = ()

    @classmethod
    def fit(cls, table: Table, kinds: Mapping[str, str]) -> MetadataSchema:
        """Learn mean and standard deviation, or the categories, of every column of the training items."""
        columns = []
        for name, kind in kinds.items():
            given = [value for value in table[name] if not is_missing(value)]
            if kind == "categorical":
                columns.append(Column(name, categories=tuple(sorted({str(value) for value in given}))))
            elif given:
                numbers = np.asarray(given, dtype=np.float64)
                mean, std = float(numbers.mean()), float(numbers.std())
                varies = std > 1e-9 * max(abs(mean), 1.0)  # the deviation of equal numbers is rounding noise
                columns.append(Column(name, mean=mean, std=std if varies else 1.0))
            else:
                columns.append(Column(name))
        return cls(tuple(columns))

    def encode(self, table: Table, n: int) -> NDArray[np.float32]:
        """Return float32 (N, M): numbers, the number of a category, NaN for missing or for an unseen category."""
        out = np.full((n, len(self.columns)), np.nan, dtype=np.float32)
        for m, column in enumerate(self.columns):
            if column.name not in table:
                continue
            values = table[column.name]
            try:
                if column.categories is not None:
                    raise TypeError
                out[:, m] = np.asarray(values, dtype=np.float64)  # None becomes NaN
            except (TypeError, ValueError):  # words, or what is no number
                out[:, m] = [_encoded(value, column) for value in values]
        return out

    def unknown(self, table: Table) -> dict[str, tuple[str, ...]]:
        """Return by column the values that the model cannot use: categories it never saw, words where it wants numbers.

        `encode` counts them as missing; whoever calls it says so.
        """
        found = {}
        for column in self.columns:
            if column.name in table:
                values = [v for v in table[column.name] if not is_missing(v) and math.isnan(_encoded(v, column))]
                if values:
                    found[column.name] = tuple(sorted({str(value) for value in values}))
        return found

    def subset(self, names: Sequence[str] | None, where: str) -> list[int]:
        """Return the positions of columns by name (all when None). Raises ConfigError with the nearest name."""
        known = [column.name for column in self.columns]
        for name in names or ():
            if name not in known:
                raise ConfigError(f"{where}: no metadata column {name!r}{nearest(name, known)}")
        return [known.index(name) for name in (known if names is None else names)]


def columns_of(table: Table | None, rows: int) -> dict[str, list[float | str | None]]:
    """Return the columns of a table as numbers, words and None.

    Raises ConfigError for what is no table, another number of rows, dates and complex numbers.
    """
    if table is None:
        return {}
    if isinstance(table, str) or not hasattr(table, "__getitem__") or not hasattr(table, "__contains__"):
        raise ConfigError(
            f"metadata: a {type(table).__name__} given; expected columns by name (a dictionary, a DataFrame)"
        )
    found = {}
    for name in table:
        try:
            column = table[name]
        except (TypeError, IndexError, KeyError, ValueError):
            raise ConfigError("metadata: expected columns by name (a dictionary of lists, a DataFrame)") from None
        held = rows_of(column, f"metadata: column {str(name)!r}", rows)
        found[str(name)] = [_plain(value, str(name)) for value in held]
    return found


def _plain(value: Any, column: str) -> float | str | None:
    if is_missing(value) or value == "":
        return None
    if isinstance(value, Real | np.bool_ | Decimal):
        try:
            size = float(value)
        except OverflowError:  # a whole number of 400 digits
            size = math.nan
        return None if math.isnan(size) else size
    if not isinstance(value, str | bytes):
        raise ConfigError(f"metadata: column {column!r} holds {value!r}: expected numbers or words")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _encoded(value: Any, column: Column) -> float:
    if is_missing(value):
        return math.nan
    if column.categories is not None:
        return float(column.categories.index(str(value))) if str(value) in column.categories else math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


@dataclass(frozen=True)
class InputSpec:
    """What every view is computed from: leads, rate (Hz), window (samples) and metadata columns."""

    leads: tuple[str, ...]
    rate_hz: float
    window: int
    metadata: MetadataSchema = MetadataSchema()


class Card(BaseModel):
    """What a model must be told beside its weights; whatever runs it, reads it.

    `views` are the names of its views, in order. `thresholds` by class (multi-label) and `temperature` come from
    validation, `lead_aliases` are the spellings of the data set it was trained on, `fingerprint` is that of the data.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=())

    format: Literal[2, 3] = FORMAT_VERSION
    kind: Kind
    classes: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, max_length=10_000)]
    leads: Annotated[tuple[str, ...], Field(min_length=1, max_length=len(LEADS))]
    rate_hz: Annotated[float, Field(ge=20, le=5000, allow_inf_nan=False)]
    unit: Literal["mV"] = "mV"
    window: Annotated[int, Field(ge=1, le=10_000_000)]
    metadata: tuple[Column, ...] = ()
    views: tuple[str, ...] = ()
    aggregate: Aggregate = "mean"
    thresholds: tuple[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)], ...] | None = None
    temperature: Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False)] = 1.0
    lead_aliases: dict[str, str] = Field(default_factory=dict)
    task_name: str = ""
    fingerprint: str = ""
    versions: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _possible(self) -> Card:
        """Refuse what no training writes."""
        for name, values in (("classes", self.classes), ("leads", self.leads)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: one stands twice")
        for lead in (*self.leads, *self.lead_aliases.values()):
            if lead not in LEADS:
                raise ValueError(f"{lead!r} is no lead")
        if self.thresholds is not None and len(self.thresholds) != len(self.classes):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.classes)} classes")
        names = [column.name for column in self.metadata]
        if len(set(names)) < len(names):
            raise ValueError("metadata: a column stands twice")
        for column in self.metadata:
            if not (math.isfinite(column.mean) and math.isfinite(column.std) and column.std > 0):
                raise ValueError(f"metadata column {column.name}: mean {column.mean}, std {column.std}")
            if column.categories is not None and len(set(column.categories)) < len(column.categories):
                raise ValueError(f"metadata column {column.name}: a category stands twice")
        return self

    @classmethod
    def of(cls, spec: InputSpec, task: Task, views: Sequence[str] = ()) -> Card:
        """Return the card of an untrained model."""
        return cls(
            kind=task.kind, classes=task.classes, leads=spec.leads, rate_hz=spec.rate_hz, window=spec.window,
            metadata=spec.metadata.columns, views=tuple(views),
        )  # fmt: skip

    @classmethod
    def parsed(cls, text: str | bytes, where: object) -> Card:
        """Return the card in a model file. Raises EcgprismError naming the file and the field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise EcgprismError(f"{where}: damaged card: {first_problem(error)}") from None

    @property
    def spec(self) -> InputSpec:
        """What the model is computed from."""
        return InputSpec(self.leads, self.rate_hz, self.window, MetadataSchema(self.metadata))

    @property
    def task(self) -> Task:
        """What the model classifies."""
        return Task(self.kind, self.classes)
