"""PTB-XL (Wagner et al. 2020): 12-lead ECGs with SCP-ECG statements, in the official folder layout."""

from __future__ import annotations

import ast
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from ecgprism.ecg.metadata import is_missing_text, number, sex_of
from ecgprism.ecg.recording import Recording
from ecgprism.errors import EcgprismError
from ecgprism.formats import reading
from ecgprism.interface.card import Task
from ecgprism.registry import register
from ecgprism.sources.contract import Entry, Split

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
TASKS = ("superdiagnostic", "subdiagnostic", "diagnostic", "form", "rhythm", "all")
#: PTB-XL writes 300 for everyone over 89 (de-identification)
AGE_OVER_89, AGE_90_OR_OVER = 300, 90.0
SEX_CODES = {"0": "male", "1": "female"}
MOST_CHARACTERS = 10_000  # of a cell of codes; they have some hundred
_NUMERIC = ("height", "weight")
CLASS_COLUMNS = ("diagnostic_class", "diagnostic_subclass")


@register("sources", "ptbxl")
class PtbXl:
    """PTB-XL: ptbxl_database.csv and scp_statements.csv with records100/ and records500/; official folds.

    Labels follow the PTB-XL benchmark (Strodthoff et al. 2021): every listed code counts whatever its likelihood;
    `min_likelihood` (percent) asks for more. A record without any code of a task is not part of that task. Folds 1-8
    are train, 9 validation, 10 test.
    """

    lead_aliases: dict[str, str] = {}  # noqa: RUF012

    def __init__(
        self, root: Path, rate: Literal[100, 500] = 100, min_likelihood: Annotated[float, Field(ge=0, le=100)] = 0.0
    ) -> None:
        """`rate` chooses the stored version (Hz)."""
        self.root, self.min_likelihood = root, min_likelihood
        self.path_column = "filename_lr" if rate == 100 else "filename_hr"
        needed = {"ecg_id", "scp_codes", "strat_fold", self.path_column}
        self.database = _table(root / "ptbxl_database.csv", needed)
        for column in sorted(needed - {"scp_codes"}):
            empty = self.database[column].isna()
            if empty.any():
                line = int(empty.to_numpy().argmax()) + 2
                raise EcgprismError(f"{root / 'ptbxl_database.csv'}, line {line}: {column} is empty")
        statements = _table(root / "scp_statements.csv", {"diagnostic", "form", "rhythm", *CLASS_COLUMNS})
        self.statements = statements.set_index(statements.columns[0])
        held = self._held()
        self.labels = {task: self._labels(task, held) for task in TASKS}
        found = {task: {label for row in rows for label in row} for task, rows in self.labels.items()}
        self.tasks = {
            task: Task("multilabel", SUPERCLASSES if task == "superdiagnostic" else tuple(sorted(found[task])))
            for task in TASKS
        }

    def _held(self) -> list[list[str]]:
        """Return the codes of every row of the database that are likely enough. Raises EcgprismError for no codes."""
        rows = []
        for ecg_id, text in zip(self.database["ecg_id"], self.database["scp_codes"], strict=True):
            try:
                codes = _codes(text)
            except (ValueError, SyntaxError, AttributeError, TypeError, OverflowError, MemoryError, RecursionError):
                raise EcgprismError(
                    f"{self.root}/ptbxl_database.csv: ecg_id {ecg_id}: scp_codes {str(text)[:60]!r}"
                ) from None
            rows.append([code for code, likelihood in codes.items() if likelihood >= self.min_likelihood])
        return rows

    def _labels(self, task: str, held: list[list[str]]) -> list[tuple[str, ...]]:
        """Return the labels of every row of the database for one task."""
        table = self.statements
        if task in ("superdiagnostic", "subdiagnostic"):
            column = "diagnostic_class" if task == "superdiagnostic" else "diagnostic_subclass"
            of_code = table.loc[table["diagnostic"] == 1, column].dropna().to_dict()
        elif task == "all":
            of_code = {code: code for code in table.index}
        else:
            of_code = {code: code for code in table.index[table[task] == 1]}
        return [tuple(sorted({of_code[code] for code in codes if code in of_code})) for codes in held]

    def entries(self) -> Iterator[Entry]:
        """Yield one entry a row of the database; files that are not there are found out on reading."""
        for position, row in enumerate(self.database.to_dict("records")):
            fold = self._whole(position, "strat_fold")
            split: Split = "train" if fold <= 8 else "val" if fold == 9 else "test"
            patient = row.get("patient_id")
            yield Entry(
                record_id=f"ptbxl_{self._whole(position, 'ecg_id'):05d}",
                path=str(self.root / str(row[self.path_column])),
                labels={task: rows[position] for task, rows in self.labels.items() if rows[position]},
                patient_id=None if is_missing_text(patient) else _name(patient),
                split=split,
                metadata=_patient(row),
            )

    def _whole(self, position: int, column: str) -> int:
        """Return a whole number of the database. Raises EcgprismError with its line."""
        text = self.database[column].iloc[position]
        value = number(text)
        if value is None or value != int(value):
            raise EcgprismError(
                f"{self.root}/ptbxl_database.csv, line {position + 2}: {column} {str(text)[:60]!r} is no whole number"
            )
        return int(value)

    def read(self, entry: Entry) -> Recording:
        """Read one record."""
        return reading.read(entry.path)


def _codes(text: str) -> dict[str, float]:
    """Return the likelihood (percent) of every code of a cell such as {'NORM': 100.0}."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError
    codes = {str(code): float(likelihood) for code, likelihood in ast.literal_eval(text).items()}
    if not all(0 <= likelihood <= 100 for likelihood in codes.values()):
        raise ValueError
    return codes


def _name(value: object) -> str:
    """Return a patient as text: `15709.0` of a column with gaps is 15709."""
    whole = number(value)
    return str(value).strip() if whole is None or whole != int(whole) else str(int(whole))


def _patient(row: Mapping[Hashable, object]) -> dict[str, float | str]:
    """Return what a row says of the patient; what is no number as it stands there, for ingest to name."""
    given = {key: row[key] for key in ("age", "sex", *_NUMERIC) if not is_missing_text(row.get(key))}
    found = {key: given[key] if (value := number(given[key])) is None else value for key in given}
    age, coded = found.get("age"), sex_of(given["sex"], SEX_CODES) if "sex" in given else None
    if isinstance(age, float) and age >= AGE_OVER_89:
        found["age"] = AGE_90_OR_OVER
    if coded is not None:
        found["sex"] = coded
    return {key: value if isinstance(value, float) else str(value) for key, value in found.items()}


def _table(path: Path, needed: set[str]) -> pd.DataFrame:
    if not path.is_file():
        raise EcgprismError(f"{path}: no such file: not the folder of PTB-XL (its official layout is expected)")
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise EcgprismError(f"{path}: not a CSV table ({error})") from None
    missing = sorted(needed - set(table.columns))
    if missing:
        raise EcgprismError(f"{path}: column {missing[0]!r} is missing")
    return table
