"""PTB-XL (Wagner et al. 2020): 12-lead ECGs with SCP-ECG statements, in the official folder layout."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

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
        self.labels = {task: self._labels(task) for task in TASKS}
        found = {task: {label for row in rows for label in row} for task, rows in self.labels.items()}
        self.tasks = {
            task: Task("multilabel", SUPERCLASSES if task == "superdiagnostic" else tuple(sorted(found[task])))
            for task in TASKS
        }

    def _labels(self, task: str) -> list[tuple[str, ...]]:
        """Return the labels of every row of the database for one task."""
        table = self.statements
        if task in ("superdiagnostic", "subdiagnostic"):
            column = "diagnostic_class" if task == "superdiagnostic" else "diagnostic_subclass"
            of_code = table.loc[table["diagnostic"] == 1, column].dropna().to_dict()
        elif task == "all":
            of_code = {code: code for code in table.index}
        else:
            of_code = {code: code for code in table.index[table[task] == 1]}
        rows = []
        for ecg_id, text in zip(self.database["ecg_id"], self.database["scp_codes"], strict=True):
            try:
                codes = {str(code): float(likelihood) for code, likelihood in ast.literal_eval(text).items()}
            except (ValueError, SyntaxError, AttributeError, TypeError):
                raise EcgprismError(f"{self.root}/ptbxl_database.csv: ecg_id {ecg_id}: scp_codes {text!r}") from None
            held = [code for code, likelihood in codes.items() if likelihood >= self.min_likelihood]
            rows.append(tuple(sorted({of_code[code] for code in held if code in of_code})))
        return rows

    def entries(self) -> Iterator[Entry]:
        """Yield one entry a row of the database; files that are not there are found out on reading."""
        for position, row in enumerate(self.database.to_dict("records")):
            fold = int(row["strat_fold"])
            split: Split = "train" if fold <= 8 else "val" if fold == 9 else "test"
            metadata: dict[str, float | str] = {key: float(row[key]) for key in _NUMERIC if pd.notna(row.get(key))}
            if pd.notna(row.get("age")):
                metadata["age"] = AGE_90_OR_OVER if row["age"] >= AGE_OVER_89 else float(row["age"])
            if pd.notna(row.get("sex")):
                metadata["sex"] = "female" if int(row["sex"]) == 1 else "male"
            patient = row.get("patient_id")
            yield Entry(
                record_id=f"ptbxl_{int(row['ecg_id']):05d}",
                path=str(self.root / row[self.path_column]),
                labels={task: rows[position] for task, rows in self.labels.items() if rows[position]},
                patient_id=None if patient is None or pd.isna(patient) else str(int(patient)),
                split=split,
                metadata=metadata,
            )

    def read(self, entry: Entry) -> Recording:
        """Read one record."""
        return reading.read(entry.path)


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
