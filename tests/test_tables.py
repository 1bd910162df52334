"""Manifests as spreadsheets write them: delimiters, encodings, names in any case, columns of 1 and 0, Excel."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgprism.errors import EcgprismError
from ecgprism.sources.manifest import Manifest, located
from ecgprism.sources.tables import _text, read_cells

ROWS = [["Path", "Labels", "Größe", "Age"], ["a/1", "NORM", "1,5", "63,5"], ["a/2", "MI|CD", "müde", ""]]


def written(folder: Path, encoding: str, delimiter: str, rows: list[list[str]] = ROWS) -> Path:
    path = folder / "m.csv"
    lines = [delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in rows]
    path.write_bytes("\r\n".join([*lines, ""]).encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_and_encodings(tmp_path: Path, encoding: str, delimiter: str) -> None:
    found = read_cells(written(tmp_path, encoding, delimiter), ("path", "labels"))
    assert found.lines == (2, 3)
    assert dict(found.columns) == {
        "path": ("a/1", "a/2"), "labels": ("NORM", "MI|CD"), "Größe": ("1,5", "müde"), "Age": ("63,5", ""),
    }  # fmt: skip


def test_a_manifest_from_a_german_spreadsheet(tmp_path: Path) -> None:
    source = Manifest(written(tmp_path, "cp1252", ";"))
    entries = list(source.entries())
    assert [entry.labels["labels"] for entry in entries] == [("NORM",), ("CD", "MI")] or entries[1].labels
    assert entries[0].metadata["age"] == 63.5
    assert "age" not in entries[1].metadata


def test_columns_by_mapping_and_labels_in_columns_of_their_own(tmp_path: Path) -> None:
    rows = [["File", "who", "AF", "MI", "Age"], ["1", "p1", "1", "0", "50"], ["2", "p2", "0", "0", "60"]]
    path = written(tmp_path, "utf-8", ",", rows)
    source = Manifest(path, columns="path=File|patient_id=who", label_columns="AF,MI")
    entries = list(source.entries())
    assert source.tasks["labels"].classes == ("AF", "MI")
    assert [entry.labels["labels"] for entry in entries] == [("AF",), ()]
    assert [entry.patient_id for entry in entries] == ["p1", "p2"]
    assert entries[0].metadata == {"age": 50.0}
    with pytest.raises(EcgprismError, match="column 'Fle' is missing; did you mean 'File'"):
        Manifest(path, columns="path=Fle", label_columns="AF,MI")
    with pytest.raises(EcgprismError, match="'pth' is none of a manifest's; did you mean 'path'"):
        Manifest(path, columns="pth=File", label_columns="AF,MI")
    with pytest.raises(EcgprismError, match="label column 'AFF' is missing"):
        Manifest(path, columns="path=File", label_columns="AFF")
    with pytest.raises(EcgprismError, match="line 2: Age = '50': expected 1 or 0"):
        Manifest(path, columns="path=File", label_columns="Age")


def one(folder: Path, text: str | bytes, **options: str) -> Manifest:
    path = folder / "m.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Manifest(path, **options)


def test_what_spreadsheets_leave_behind_is_no_row_and_no_column(tmp_path: Path) -> None:
    for text in (
        "path;labels;age\r\na;X;1;;\r\nb;Y;2;;\r\n\r\n;;;;\r\n \r\n", "sep=;\r\npath;labels;age\r\na;X;1\r\nb;Y;2\r\n",
        '"sep=;"\npath;labels;age\na;X;1\nb;Y;2', "path,labels,age,,\ra,X,1,,\rb,Y,2,,\r",
        "path,labels,age\na,X,1\nb,Y,2\n".encode("utf-16-le"), "path,labels,age\na,X,1\nb,Y,2\n".encode("utf-16-be"),
    ):  # fmt: skip
        entries = list(one(tmp_path, text).entries())
        assert [(each.labels["labels"], each.metadata) for each in entries] == [
            (("X",), {"age": 1}),
            (("Y",), {"age": 2}),
        ]


def test_a_header_with_commas_in_its_names_is_parted_where_it_gives_the_columns_that_are_looked_for(
    tmp_path: Path,
) -> None:
    source = one(tmp_path, "path;labels;weight, kg;height, cm;a, b, c\na;X;1,5;170;\nb;Y;2;171;\n")
    assert next(iter(source.entries())).metadata == {"weight, kg": 1.5, "height, cm": 170.0}


def test_names_of_columns_in_any_case_with_blanks_and_by_any_mapping(tmp_path: Path) -> None:
    source = one(tmp_path, "PATH,Labels,Patient ID,Rate-Hz\na,X,7,500\nb,Y,7,\n")
    assert [(each.patient_id, each.declared) for each in source.entries()] == [("7", {"rate_hz": 500.0}), ("7", {})]
    mapped = "path=filename|labels=diagnosis|age=Alter|sex=Geschlecht"
    source = one(tmp_path, "FILENAME;Diagnosis;Alter;Geschlecht\na;X;60;w\nb;Y;61;m\n", columns=mapped)
    assert [each.metadata for each in source.entries()] == [
        {"age": 60.0, "sex": "female"}, {"age": 61.0, "sex": "male"},
    ]  # fmt: skip
    with pytest.raises(EcgprismError, match=r"column 'path' stands twice: 'Path' \(column 1\) and 'PATH' \(column 2\)"):
        one(tmp_path, "Path,PATH,labels\na,b,X\n")
    with pytest.raises(EcgprismError, match=r"column 'n' stands twice: 'n' \(column 3\) and 'n' \(column 4\)"):
        one(tmp_path, "path,labels,n,n\na,X,1,2\n")
    with pytest.raises(EcgprismError, match="columns: 'path': expected NAME=COLUMN, as in path=filename"):
        one(tmp_path, "path,labels\na,X\n", columns="path")


def test_commas_are_decimal_where_they_can_be_nothing_else(tmp_path: Path) -> None:
    def values(text: str) -> list[object]:
        return [each.metadata.get("x") for each in one(tmp_path, text).entries()]

    assert values("path;labels;x\na;X;1,234\nb;Y;-5,678\n") == [1.234, -5.678]
    assert values('path,labels,x\na,X,"1,234"\nb,Y,"0,5"\n') == [1.234, 0.5]
    assert values('path,labels,x\na,X,"1,234"\nb,Y,"2,345"\n') == ["1,234", "2,345"]  # thousands, or not: words
    assert values("path;labels;x\na;X;1,234\nb;Y;5.5\n") == ["1,234", "5.5"]
    rates = one(tmp_path, "path;labels;rate_hz\na;X;499,876\nb;Y;500\n")
    assert [each.declared["rate_hz"] for each in rates.entries()] == [499.876, 500.0]


def test_label_columns_as_spreadsheets_fill_them(tmp_path: Path) -> None:
    source = one(tmp_path, "path;af;MI\na;1,0;0\nb;WAHR;FALSCH\nc;x;x\nd;;\n", label_columns="AF,MI")
    assert source.tasks["labels"].kind == "multilabel"
    assert [each.labels["labels"] for each in source.entries()] == [("AF",), ("AF",), ("AF", "MI"), ()]
    source = one(tmp_path, "path;Flutter, typical;MI\na;1;0\nb;0;1\n", label_columns="Flutter, typical|MI")
    assert source.tasks["labels"].kind == "multiclass"  # one in every row, as of a column of labels
    assert [each.labels["labels"] for each in source.entries()] == [("Flutter, typical",), ("MI",)]
    source = one(tmp_path, "path,labels,AF,MI\na,x,1,0\nb,y,1,1\n", label_columns="AF,MI")
    assert "column labels is not read: the label columns stand for it" in source.notes


def test_leads_of_a_row_are_joined_by_bars_or_commas(tmp_path: Path) -> None:
    for leads in ("I|II|-|V1", '"I,II,-,V1"', '"i, ii, -, v1"'):
        assert len(one(tmp_path, f"path,labels,leads\na,X,{leads}\nb,Y,{leads}\n").declared) == 2
    with pytest.raises(EcgprismError, match="leads: 'I,,V1': expected SPELLING=LEAD"):
        one(tmp_path, 'path,labels,leads\na,X,"I,,V1"\n')


def test_paths_of_windows_of_home_and_of_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "odd\\name.hea").touch()
    assert located(tmp_path, "a b\\c.hea") == str(tmp_path / "a b/c.hea")
    assert located(tmp_path, ".\\c.hea") == str(tmp_path / "c.hea")
    assert located(tmp_path, "odd\\name.hea") == str(tmp_path / "odd\\name.hea")  # such a file may be
    assert located(tmp_path, "~/c.hea") == str(Path.home() / "c.hea")
    assert located(tmp_path, "~\\c.hea") == str(Path.home() / "c.hea")
    assert located(tmp_path, "/data/c.hea") == "/data/c.hea"
    assert located(tmp_path, "~c.hea") == str(tmp_path / "~c.hea")


def test_a_workbook_is_told_by_its_content_and_its_numbers_stay_whole(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    table = pd.DataFrame({"path": ["a", "b"], "labels": ["X", "Y"], "patient_id": [1234567.0, 7654321.5]})
    table.to_excel(tmp_path / "m.xlsx", index=False)
    for name in ("m.xlsx", "m.csv"):
        (tmp_path / name).write_bytes((tmp_path / "m.xlsx").read_bytes())
        assert [each.patient_id for each in Manifest(tmp_path / name).entries()] == ["1234567", "7654321.5"]
    assert [_text(cell) for cell in (1234567.0, 0.1, 3, None)] == ["1234567", "0.1", "3", ""]
    (tmp_path / "m.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500))
    with pytest.raises(EcgprismError, match=r"m\.xls: an Excel file of before 2007; save it as \.xlsx or CSV"):
        Manifest(tmp_path / "m.xls")


NAMES = st.text("abé /.-_(&", max_size=8).map(lambda text: f"p{text}q")
LABELS = st.text("ABÄ/&", min_size=1, max_size=4).map(lambda text: f"L{text}L")
NUMBERS = st.floats(-1e4, 1e4).map(lambda value: round(value, 4))
WORDS = st.text('ab ;,"\t|é\n', max_size=6).map(lambda text: f"w{text}w")


@st.composite
def manifests(draw: st.DrawFn) -> pd.DataFrame:
    """Return a manifest as people have it: paths, labels, numbers, words with anything in them, missing cells."""
    others = draw(st.lists(st.tuples(NAMES, LABELS, st.none() | NUMBERS, st.none() | WORDS), min_size=1, max_size=5))
    first = draw(st.tuples(NAMES, LABELS, NUMBERS, WORDS))
    return pd.DataFrame([first, *others], columns=["path", "labels", "number", "words"])


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    table=manifests(),
    delimiter=st.sampled_from([",", ";", "\t"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"]),
    decimal=st.sampled_from([".", ","]),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    case=st.sampled_from([str, str.upper, str.title]),
    extra=st.integers(0, 2),
)
def test_a_table_of_pandas_in_any_dialect_is_read_to_the_same_rows(
    table: pd.DataFrame, delimiter: str, encoding: str, decimal: str, end: str, quoting: int, case: object,
    extra: int, tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    shown = table.rename(columns={name: case(name) for name in ("path", "labels")})
    text = shown.to_csv(index=False, sep=delimiter, decimal=decimal, lineterminator=end, quoting=quoting)
    text += (delimiter * extra + end) * extra  # what a spreadsheet keeps of rows that were emptied
    path = tmp_path_factory.getbasetemp() / "drawn.csv"
    path.write_bytes(text.encode(encoding))
    same_rows(table, Manifest(path))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(table=manifests())
def test_a_table_of_openpyxl_is_read_to_the_same_rows(
    table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("openpyxl")
    path = tmp_path_factory.getbasetemp() / "drawn.xlsx"
    table.to_excel(path, index=False)
    same_rows(table, Manifest(path))


def same_rows(table: pd.DataFrame, source: Manifest) -> None:
    entries = list(source.entries())
    assert len(entries) == len(table)
    for entry, (_, row) in zip(entries, table.iterrows(), strict=True):
        assert (entry.record_id, entry.labels["labels"]) == (row["path"], (row["labels"],))
        expected = {} if row["number"] is None or math.isnan(row["number"]) else {"number": row["number"]}
        expected |= {} if pd.isna(row["words"]) else {"words": row["words"]}
        assert entry.metadata == expected


def test_excel(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    pd.DataFrame({"path": ["a", "b"], "labels": ["X", "Y"], "age": [63.0, 64.5], "sex": ["F", None]}).to_excel(
        tmp_path / "m.xlsx", index=False
    )
    entries = list(Manifest(tmp_path / "m.xlsx").entries())
    assert [dict(entry.metadata) for entry in entries] == [{"age": 63.0, "sex": "female"}, {"age": 64.5}]
    (tmp_path / "broken.xlsx").write_bytes(b"PK no")
    with pytest.raises(EcgprismError, match=r"broken\.xlsx: not an Excel table"):
        Manifest(tmp_path / "broken.xlsx")


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    try:
        read_cells(path, ("path", "labels"))
    except EcgprismError as error:
        assert "\n" not in str(error)
