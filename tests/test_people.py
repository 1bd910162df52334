"""Tables as people write them: missing values, ages, sex, labels, declared rates; the right value or one clear line."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ecgprism.cli.entry import app
from ecgprism.corpus.ingestion import ingest
from ecgprism.corpus.store import Corpus
from ecgprism.ecg.metadata import age_years, is_missing_text, number, settle, sex_of
from ecgprism.errors import ConfigError, EcgprismError
from ecgprism.interface.card import Task
from ecgprism.sources.opening import open_source

from .data_sets import write_beats, write_challenge, write_ludb
from .ingests import ingest_these, recording, wave
from .records import digital, ptbxl_row, write_manifest, write_ptbxl, write_wfdb
from .test_sources import entries, manifest, refusal

# --- one cell


@pytest.mark.parametrize(
    "text", ["", " ", "nan", "NaN", "NA", "n/a", "N/A", "none", "None", "null", "Unknown", "?", "-"]
)
def test_missing_has_many_spellings(text: str) -> None:
    assert is_missing_text(text)
    assert is_missing_text(f"  {text} ")


def test_what_is_there_is_not_missing() -> None:
    assert not any(map(is_missing_text, ["0", "no", "n", "x", 0, 0.0, "nano"]))
    assert is_missing_text(None)
    assert is_missing_text(math.nan)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("63", 63.0), ("63.5", 63.5), (" 63,5 ", 63.5), ("-0.25", -0.25), ("+1e3", 1000.0), (".5", 0.5), ("5.", 5.0),
        (7, 7.0), (np.int64(3), 3.0), (np.float64(2.5), 2.5),
        ("1,234", None), ("1_000", None), ("inf", None), ("nan", None), ("0x10", None), ("63Y", None), ("", None),
        ("1e999", None), ("9" * 65, None), (10**400, None), (True, None), (None, None), (math.inf, None), ("٦", None),
    ],
)  # fmt: skip
def test_numbers_are_those_that_people_write(text: object, value: float | None) -> None:
    assert number(text) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_comes_back(value: float) -> None:
    assert number(value) == number(str(value)) == value


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("63", 63), ("63,5", 63.5), ("063Y", 63), ("63 years", 63), ("63 yrs.", 63), ("63Jahre", 63), ("6 months", 0.5),
        ("006M", 0.5), ("7D", 7 / 365.25), ("52 weeks", 52 * 7 / 365.25), ("0", 0), ("130", 130), (63.0, 63),
        ("131", None), ("300", None), ("-5", None), ("old", None), ("", None), ("63 apples", None), ("1e2", None),
        ("6 0", None), ("9" * 100, None),
    ],
)  # fmt: skip
def test_ages_are_years_of_a_person(text: object, years: float | None) -> None:
    assert age_years(text) == (None if years is None else pytest.approx(years))


@pytest.mark.parametrize("text", ["F", "f", "female", " Female ", "FEMALE", "woman", "w", "W"])
def test_female_has_many_spellings(text: str) -> None:
    assert sex_of(text) == "female"


@pytest.mark.parametrize("text", ["M", "m", "male", "Male ", "man", "MAN"])
def test_male_has_many_spellings(text: str) -> None:
    assert sex_of(text) == "male"


def test_codes_of_sex_mean_what_the_legend_says_and_nothing_without() -> None:
    assert [sex_of(code) for code in ("1", "0", 1, "x", "")] == [None] * 5
    legend = {"1": "female", "0": "male", "Kvinde": "woman"}
    codes = ("1", "0", 1, 0.0, "1.0", "kvinde", "M", "2")
    assert [sex_of(code, legend) for code in codes] == [
        "female",
        "male",
        "female",
        "male",
        "female",
        "female",
        "male",
        None,
    ]


def test_metadata_is_settled_with_a_note_on_what_is_left_out() -> None:
    given_values = {"age": "63Y", "sex": "M", "height": 0.0, "weight": 80.0, "site": "a", "more": "n/a", "x": math.nan}
    assert settle(given_values, "r") == (
        {"age": 63.0, "sex": "male", "weight": 80.0, "site": "a"}, ["r: height 0.0 is none: taken as missing"],
    )  # fmt: skip
    assert settle({"age": 300.0, "sex": "1"}, "r") == (
        {}, ["r: age 300.0 is none: taken as missing", "r: sex '1' is none: taken as missing"],
    )  # fmt: skip


# --- metadata columns of a manifest


def table(folder: Path, **columns: list[str]) -> Path:
    """Write a manifest with these columns; paths and labels are made where they are not given."""
    n = len(next(iter(columns.values())))
    given_columns = {"path": [f"r{i}" for i in range(n)], "labels": ["A|B"] * n} | columns
    with (folder / "m.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(given_columns)
        writer.writerows(zip(*given_columns.values(), strict=True))
    return folder / "m.csv"


def column(folder: Path, name: str, cells: list[str], **options: object) -> tuple[list[object], tuple[str, ...]]:
    source = open_source("manifest", table(folder, **{name: cells}), options)
    stored = {"age_years": "age", "Age": "age", "Gender": "sex"}.get(name, name)
    return [entry.metadata.get(stored) for entry in source.entries()], source.notes


def test_ages_with_every_spelling_of_missing_are_numbers(tmp_path: Path) -> None:
    cells = ["63", "71.5", "63,5", "80Y", "", "nan", "NA", "n/a", "unknown", "?", "None", "-"]
    assert column(tmp_path, "age", cells) == ([63, 71.5, 63.5, 80] + [None] * 8, ())


def test_a_cell_that_is_no_number_is_named_and_missing_where_nearly_all_are(tmp_path: Path) -> None:
    cells = [str(i) for i in range(40, 60)]
    values, notes = column(tmp_path, "age", [*cells, "old", "300"])
    assert values == [*map(float, cells), None, None]
    assert notes == ("column age: 'old' (line 22), '300' (line 23): no numbers that it can hold, taken as missing",)
    values, notes = column(tmp_path, "bmi", [*cells, "1,234"])
    assert values[-1] is None
    assert notes == ("column bmi: '1,234' (line 22): no numbers that it can hold, taken as missing",)


def test_a_column_of_words_and_some_numbers_is_categories_and_that_is_said(tmp_path: Path) -> None:
    values, notes = column(tmp_path, "site", ["1", "2", "x", "NA"])
    assert values == ["1", "2", "x", None]
    assert notes == ("column site: 2 of 3 cells are numbers, so its values are categories",)
    assert column(tmp_path, "site", ["a", "b"]) == (["a", "b"], ())


def test_sex_is_female_or_male_whatever_its_spelling(tmp_path: Path) -> None:
    cells = ["M", "male", "Male ", "F", "female", " Female", "w", "", "unknown", "other"]
    values, notes = column(tmp_path, "sex", cells)
    assert values == ["male"] * 3 + ["female"] * 4 + [None] * 3
    assert notes == ("column sex: 'other' (line 11): neither female nor male, taken as missing",)
    assert column(tmp_path, "Gender", ["M", "F"])[0] == ["male", "female"]


def test_codes_of_sex_need_a_legend(tmp_path: Path) -> None:
    path = table(tmp_path, sex=["1", "0", "F", "1"])
    message = refusal("manifest", path)
    assert message == f"{path}, line 2: sex '1': say what the codes mean, as in sex=1:female|0:male"
    assert column(tmp_path, "sex", ["1", "0", "F", "1.0"], sex="1:female|0:male")[0] == [
        "female", "male", "female", "female",
    ]  # fmt: skip
    assert "line 3: sex '2'" in refusal("manifest", table(tmp_path, sex=["1", "2"]), sex="1:female|0:male")
    assert "expected CODE:female or CODE:male" in refusal("manifest", path, sex="1=female")
    assert "expected CODE:female or CODE:male" in refusal("manifest", path, sex="1:both")


def test_names_of_age_and_sex_are_those_of_the_readers(tmp_path: Path) -> None:
    assert column(tmp_path, "Age", ["63", "64"])[0] == [63, 64]
    both = open_source("manifest", table(tmp_path, age=["1"], Age=["2"], sex=["M"], gender=["F"]))
    assert dict(next(iter(both.entries())).metadata) == {"age": 1.0, "Age": 2.0, "sex": "male", "gender": "F"}


def test_an_ingest_of_a_real_mess_says_what_it_took_for_what(tmp_path: Path) -> None:
    n = 24
    ages = ["" if i % 7 == 0 else "unknown" if i % 11 == 0 else str(40 + i) for i in range(n)]
    ages[13] = "63Y"
    sexes = [("M", "male", "Male ", "F", "female", " Female")[i % 6] for i in range(n)]
    path = write_manifest(tmp_path, n, age=ages, sex=sexes, labels=[("NORM", "MI")[i % 2] for i in range(n)])
    done = CliRunner().invoke(app, ["ingest", "manifest", str(path), "--out", str(tmp_path / "c"), "--workers", "1"])
    assert done.exit_code == 0, done.output
    told = [" ".join(line.split()) for line in done.output.splitlines()]
    assert "metadata age: numbers, 41 to 63, 25% missing" in told
    assert "metadata sex: categories, 0% missing: female 12, male 12" in told
    assert "note: labels: exactly one in every row, so kind=multiclass (or say kind=multilabel)" in told
    assert "task labels (multiclass), items by class:" in told
    corpus = Corpus(tmp_path / "c")
    counts = corpus.meta.classes["labels"]
    for name in ("NORM", "MI"):
        assert f"{name} {' '.join(str(counts[name].get(split, 0)) for split in ('train', 'val', 'test'))}" in told
        assert sum(counts[name].values()) == 12
    assert corpus.meta.metadata == {"age": "numeric", "sex": "categorical"}
    assert set(corpus.metadata["sex"]) == {"female", "male"}
    assert corpus.metadata["age"].isna().tolist() == [cell in ("", "unknown") for cell in ages]
    assert corpus.metadata["age"][13] == 63


def test_what_no_table_checked_is_settled_at_ingest_for_every_source(tmp_path: Path) -> None:
    given_rows = [
        recording(wave(0), metadata={"age": 300.0, "sex": "F"}),
        recording(wave(1), metadata={"age": "63Y", "sex": "man"}),
        recording(wave(2), metadata={"age": "NaN", "sex": "1"}),
    ]
    done = ingest_these(given_rows, tmp_path / "c", {0: {"path": "some/a"}})
    corpus = Corpus(tmp_path / "c")
    assert corpus.meta.metadata == {"age": "numeric", "sex": "categorical"}
    np.testing.assert_array_equal(corpus.metadata["age"], [np.nan, 63, np.nan])
    assert corpus.metadata["sex"].fillna("").tolist() == ["female", "male", ""]
    assert done.notes == ("some/a: age 300.0 is none: taken as missing", "r2: sex '1' is none: taken as missing")


# --- labels


def labelled(folder: Path, cells: list[str], **options: object) -> tuple[Task, list[tuple[str, ...]], tuple[str, ...]]:
    source = open_source("manifest", table(folder, labels=cells), options)
    return source.tasks["labels"], [e.labels.get("labels", ()) for e in source.entries()], source.notes


@pytest.mark.parametrize("cell", ["['NORM']", '["NORM"]', "[ 'NORM' ]", "('NORM',)", "NORM"])
def test_a_label_in_a_list_is_that_label(tmp_path: Path, cell: str) -> None:
    task, labels, _ = labelled(tmp_path, [cell, "['NORM', 'MI']", "[]"])
    assert task.classes == ("MI", "NORM")
    assert labels == [("NORM",), ("NORM", "MI"), ()]


@pytest.mark.parametrize("cell", ["A;B", "A, B", "A,B", "A ; B|C"])
def test_labels_joined_by_something_else_are_refused_and_not_made_a_class(tmp_path: Path, cell: str) -> None:
    message = refusal("manifest", table(tmp_path, labels=["A", cell]))
    assert "line 3: labels " in message
    assert "several are joined by |, as in A|B" in message


def test_a_class_with_a_comma_is_taken_when_it_is_named(tmp_path: Path) -> None:
    task, labels, _ = labelled(tmp_path, ["Flutter, typical", "SR"], classes="SR|Flutter, typical")
    assert task == Task("multiclass", ("SR", "Flutter, typical"))
    assert labels == [("Flutter, typical",), ("SR",)]


@pytest.mark.parametrize("cell", ["[A]", "{1: 2}", "[[[", "[" * 9_000 + "]" * 9_000, "[1.5]", "[None]", "[b'A']"])
def test_a_list_of_no_names_is_refused_in_one_line(tmp_path: Path, cell: str) -> None:
    message = refusal("manifest", table(tmp_path, labels=["A", cell])) if cell != "{1: 2}" else "line 3: labels"
    assert "line 3: labels" in message
    assert len(message) < 400


def test_labels_that_differ_in_case_or_spaces_are_refused_or_merged_when_the_classes_are_named(tmp_path: Path) -> None:
    path = table(tmp_path, labels=["AF", "N", "af"])
    assert refusal("manifest", path) == (
        f"{path}, line 4: label 'af' differs from 'AF' (line 2) in case or spaces alone; write them alike, or name the "
        "classes, as in classes=AF|..."
    )
    assert "differs from 'SR  AF'" in refusal("manifest", table(tmp_path, labels=["SR  AF", "sr af"]))
    task, labels, notes = labelled(tmp_path, ["AF", "af", "Af", "N"], classes="N|AF")
    assert (task.classes, labels) == (("N", "AF"), [("AF",), ("AF",), ("AF",), ("N",)])
    assert {"label 'af' taken as 'AF'", "label 'Af' taken as 'AF'"} <= set(notes)
    assert labelled(tmp_path, ["J", "j"], classes="J|j")[1] == [("J",), ("j",)]


@pytest.mark.parametrize(
    ("cells", "options", "kind"),
    [
        (["A", "B", "A"], {}, "multiclass"),
        (["0", "1", "1"], {}, "multiclass"),
        (["0", "1", ""], {}, "multiclass"),
        (["A", "B", ""], {}, "multilabel"),
        (["A", "B|A", "B"], {}, "multilabel"),
        (["A", "A"], {}, "multilabel"),  # one class is nothing to choose from
        (["A", "B"], {"unlabelled": "negative"}, "multilabel"),
        (["A", "B"], {"kind": "multilabel"}, "multilabel"),
        (["A", "B", ""], {"kind": "multiclass"}, "multiclass"),
        (["A"], {"classes": "A|B"}, "multiclass"),
    ],
)
def test_one_label_in_every_row_is_multiclass_and_that_is_said(
    tmp_path: Path, cells: list[str], options: dict[str, object], kind: str
) -> None:
    task, _, notes = labelled(tmp_path, cells, **options)
    assert task.kind == kind
    assert bool(notes) == (kind == "multiclass" and "kind" not in options)


def test_what_programs_write_for_no_label_is_none_and_said(tmp_path: Path) -> None:
    task, labels, notes = labelled(tmp_path, ["A|B", "nan", "NULL", "none"])
    assert (task.classes, labels) == (("A", "B", "none"), [("A", "B"), (), (), ("none",)])
    assert notes == ("labels 'nan' taken as no label", "labels 'NULL' taken as no label")


# --- what the table declares of its files


def test_columns_and_options_declare_rate_unit_and_leads_and_are_no_metadata(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        np.savetxt(tmp_path / f"r{i}.csv", rng.normal(0, 500, (600, 2)), delimiter=",", fmt="%.3f")
    path = table(
        tmp_path, path=["r0.csv", "r1.csv", "r2.csv"], labels=["A", "B", "A"], rate_hz=["500", "250.5", ""],
        unit=["uV", "", "5uV"], leads=["II|V1", "", "I|II"],
    )  # fmt: skip
    ingest("manifest", path, tmp_path / "c", options={"rate_hz": 100, "unit": "uV", "leads": "V5|V6"}, workers=1)
    corpus = Corpus(tmp_path / "c")
    assert corpus.records["source_rate_hz"].tolist() == [500, 250.5, 100]
    held = [set(corpus.leads_of(i)) for i in range(3)]
    assert held[0] == {"II", "V1"}
    assert held[1] == {"V5", "V6"}
    assert {"I", "II"} <= held[2]
    assert corpus.meta.metadata == {}
    for i, size in enumerate((0.5, 0.5, 2.5)):
        signal = corpus.signal(i)[[corpus.leads_of(i).index(lead) for lead in held[i] & {"II", "V5"}]]
        assert signal.std() == pytest.approx(size, rel=0.6)


def test_a_declaration_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    for column_of, cell, problem in (
        ("rate_hz", "fast", "line 2: rate_hz 'fast' is no sampling rate"),
        ("rate_hz", "-5", "line 2: rate_hz '-5' is no sampling rate"),
        ("leads", "I|IX", "leads: 'I': expected SPELLING=LEAD"),
    ):
        assert problem in refusal("manifest", table(tmp_path, **{column_of: [cell]}))
    with pytest.raises(ConfigError, match="rate_hz"):
        open_source("manifest", table(tmp_path, labels=["A"]), {"rate_hz": -1})


def test_leads_of_a_row_may_be_spellings(tmp_path: Path) -> None:
    for i, name in enumerate(("ECG", "Ch1")):
        write_wfdb(tmp_path, f"r{i}", digital(1, seed=i), [name])
    source = open_source("manifest", table(tmp_path, leads=["ECG=I", "Ch1=V5"]))
    assert [source.read(entry).leads for entry in source.entries()] == [("I",), ("V5",)]
    assert source.lead_aliases == {}


# --- headers of PhysioNet, tables of PTB-XL


@pytest.mark.parametrize(
    ("comments", "metadata"),
    [
        (["Age: NaN", "Sex: Unknown"], {}),
        (["Age: 63Y", "Gender: F"], {"age": 63.0, "sex": "female"}),
        (["Age: 63", "Sex: Male"], {"age": 63.0, "sex": "male"}),
        (["age: 063y", "gender: man"], {"age": 63.0, "sex": "male"}),
    ],
)
@pytest.mark.parametrize("source", ["challenge2021", "ludb"])
def test_headers_say_age_and_sex_in_many_ways(
    tmp_path: Path, comments: list[str], metadata: dict[str, object], source: str
) -> None:
    root = tmp_path / "data"
    if source == "ludb":
        write_ludb(tmp_path, {"1": "Sinus rhythm"})
    else:
        write_challenge(root, {"1": "426783006"})
    header = root / "1.hea"
    kept = [line for line in header.read_text().splitlines() if "age" not in line.lower() and "sex" not in line.lower()]
    header.write_text(
        "\n".join([*kept[: 13 if source == "ludb" else 3], *(f"#{line}" for line in comments), *kept[13:]]) + "\n"
    )
    ingest(source, tmp_path if source == "ludb" else root, tmp_path / "c", workers=1)
    corpus = Corpus(tmp_path / "c")
    assert {name: corpus.metadata[name][0] for name in corpus.metadata} == metadata


def test_an_age_of_300_in_a_header_is_named_and_missing(tmp_path: Path) -> None:
    root = write_challenge(tmp_path / "db", {"1": "426783006"})
    header = root / "1.hea"
    header.write_text(header.read_text().replace("Age: 61", "Age: 300"))
    source = open_source("challenge2021", root)
    assert "age" not in source.read(next(iter(source.entries()))).metadata
    done = ingest("challenge2021", root, tmp_path / "c", workers=1)
    assert "age" not in Corpus(tmp_path / "c").meta.metadata
    assert done.notes == (f"{header}: age '300' is none: taken as missing",)


def test_an_impossible_age_of_mit_bih_is_missing(tmp_path: Path) -> None:
    write_beats(tmp_path, "100", [(2.0, "N")], comments=["999 M"])
    source = open_source("mitbih", tmp_path)
    assert dict(source.read(next(iter(source.entries()))).metadata) == {"sex": "male"}


@pytest.mark.parametrize(
    "codes",
    [
        "{'NORM': 1" + "0" * 400 + "}",
        "-" * 50_000 + "1",
        "[" * 5_000,
        "{'NORM': 1e999}",
        "{'NORM': -5}",
        "{" * 200,
        "7",
        "{1",
    ],
)
def test_absurd_scp_codes_are_one_line(tmp_path: Path, codes: str) -> None:
    root = write_ptbxl(tmp_path, [ptbxl_row(1, {"NORM": 100.0}) | {"scp_codes": codes}])
    message = refusal("ptbxl", root)
    assert "ptbxl_database.csv: ecg_id 1: scp_codes" in message
    assert len(message) < 300


@pytest.mark.parametrize(("column_of", "cell"), [("ecg_id", "x1"), ("strat_fold", "one"), ("strat_fold", "1.5")])
def test_a_number_of_ptbxl_that_is_none_is_named_with_its_line(tmp_path: Path, column_of: str, cell: str) -> None:
    root = write_ptbxl(tmp_path, [ptbxl_row(1, {"SR": 1.0}) | {column_of: cell}])
    assert f"line 2: {column_of} {cell!r} is no whole number" in refusal("ptbxl", root).replace(
        "np.float64(1.5)", "1.5"
    )


def test_a_patient_of_ptbxl_that_cannot_be_is_named_at_ingest(tmp_path: Path) -> None:
    rows = [
        ptbxl_row(1, {"SR": 1.0}, age="unknown", sex="F", patient_id="abc"),
        ptbxl_row(2, {"SR": 1.0}, age="150", sex="2", height="tall"),
        ptbxl_row(3, {"SR": 1.0}, age="63Y", sex="1"),
    ]
    root = write_ptbxl(tmp_path / "db", rows, signals=True)
    assert [entry.patient_id for entry in entries("ptbxl", root)] == ["abc", "102", "103"]
    done = ingest("ptbxl", root, tmp_path / "c", workers=1)
    corpus = Corpus(tmp_path / "c")
    np.testing.assert_array_equal(corpus.metadata["age"], [np.nan, np.nan, 63])
    assert corpus.metadata["sex"].fillna("").tolist() == ["female", "", "female"]
    assert len([note for note in done.notes if "taken as missing" in note]) == 2


def test_the_field_manifest_of_missing_ages_is_numeric() -> None:
    path = Path(__file__).parent / "field" / "manifest_nan.csv"
    source = open_source("manifest", path)
    ages = [entry.metadata.get("age") for entry in source.entries()]
    assert all(age is None or isinstance(age, float) for age in ages)
    assert sum(age is not None for age in ages) > 0


def test_an_unknown_source_option_is_still_one_line(tmp_path: Path) -> None:
    with pytest.raises(EcgprismError, match="manifest has no option 'rate'; did you mean 'rate_hz'"):
        open_source("manifest", manifest(tmp_path, "path,labels\na,N\n"), {"rate": 500})


@pytest.mark.parametrize("of", [int, float, np.int64, np.int16, np.float32, np.float64])
def test_numbers_of_numpy_are_numbers_and_its_nan_is_missing(of: type) -> None:
    kept, notes = settle({"age": of(63), "height": of(170), "sex": "F"}, "here")
    assert (kept, notes) == ({"age": 63.0, "height": 170.0, "sex": "female"}, [])
    json.dumps(kept)
    assert settle({"age": np.float32("nan"), "device": pd.NA}, "here") == ({}, [])
