"""Tables as exports write them: Apple Watch, decimal commas, quotes, missing cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ecgprism as ep
from ecgprism.errors import ReadError
from tests.field_files import beats, lines, peak, quick, written
from tests.records import digital, write_wfdb

APPLE_KEYS = {
    "en": ("Recorded Date", "Classification", "Sample Rate,512 hertz", "Lead,Lead I", "Unit,µV"),
    "de": ("Aufzeichnungsdatum", "Klassifizierung", "Messrate,512\u00a0Hertz", "Ableitung,Ableitung I", "Einheit,µV"),
    "fr": ("Date", "Classification", "Fréquence d’échantillonnage,512 hertz", "Dérivation,Dérivation I", "Unité,µV"),
    "es": ("Fecha", "Clasificación", "Frecuencia de muestreo,512 hercios", "Derivación,Derivación I", "Unidad,µV"),
    "nl": ("Datum", "Classificatie", "Bemonsteringsfrequentie,512 hertz", "Afleiding,Afleiding I", "Eenheid,µV"),
    "fraction": ("Recorded Date", "Classification", "Sample Rate,511,422 hertz", "Lead,Lead I", "Unit,µV"),
}


@pytest.mark.parametrize("language", APPLE_KEYS)
@pytest.mark.parametrize("comma", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_an_apple_watch_export_of_any_language_is_whole(
    tmp_path: Path, language: str, comma: bool, encoding: str
) -> None:
    values = np.round(800 * beats(1024, rate_hz=512), 3)
    date, kind, rate, lead, unit = APPLE_KEYS[language]
    lines = [
        "Name",
        f"{date},2024-08-26 18:15:35 +0100",
        f"{kind},Sinus Rhythm",
        'Device,"Watch6,6"',
        rate,
        "",
        "",
        lead,
        unit,
        "",
    ]
    lines += [f"{value:g}".replace(".", "," if comma else ".") for value in values]
    path = tmp_path / "ecg.csv"
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))
    read = ep.read(path)
    assert (read.format, read.leads, read.units) == ("Apple Watch CSV", ("I",), ("µV",))
    assert read.rate_hz == (511.422 if language == "fraction" else 512)
    np.testing.assert_allclose(read.signal[0], values / 1e3, atol=1e-6)
    assert read.details["statements"] == "Sinus Rhythm"


def test_an_apple_watch_export_that_went_through_a_spreadsheet_is_whole(tmp_path: Path) -> None:
    for sep, quote in ((";", ""), (",", '"'), (";", '"')):
        lines = [
            f"Name{sep}",
            f"Messrate{sep}{quote}511,5 Hertz{quote}",
            sep,
            f"Ableitung{sep}Ableitung I",
            f"Einheit{sep}µV",
            "",
        ]
        lines += [f"{quote}{value}{quote}{sep if sep == ';' else ''}" for value in ("4,108", "-7,5", "12")]
        read = ep.read(written(tmp_path / "a.csv", "\n".join(lines) + "\n"))
        assert read.rate_hz == 511.5
        np.testing.assert_allclose(read.signal[0], [4.108e-3, -7.5e-3, 12e-3], atol=1e-7)


@pytest.mark.parametrize("bad", ["abc", "1,2,3", "Unit,µV", "1.2.3", "-"])
def test_a_line_that_is_no_number_is_an_error_with_its_line(tmp_path: Path, bad: str) -> None:
    text = "Sample Rate,512 hertz\n\nLead,Lead I\nUnit,µV\n\n" + "1\n2\n" + bad + "\n3\n"
    with pytest.raises(ReadError, match=r"line 8: .* is no number"):
        ep.read(written(tmp_path / "a.csv", text))
    mixed = "Sample Rate,512 hertz\n\nLead,Lead I\nUnit,µV\n\n1,5\n2.5\n"
    with pytest.raises(ReadError, match="decimal commas"):
        ep.read(written(tmp_path / "a.csv", mixed))


ROWS = np.round(np.stack([beats(50, 1.0, 50), beats(50, -0.7, 50)], axis=1), 4)


def table(name: str) -> str:
    plain = lines(ROWS)
    commas = lines(ROWS, ";", ",")
    return "\n".join(
        {
            "names": ["I,V1", *plain],
            "ends in a delimiter": ["I,V1", *(row + "," for row in plain)],
            "names end so too": ["I,V1,", *(row + "," for row in plain)],
            "row names of R": ['"I","V1"', *(f'"{n}",{row}' for n, row in enumerate(plain, 1))],
            "row names without quotes": ["I,V1", *(f"{n},{row}" for n, row in enumerate(plain, 1))],
            "semicolons": ["I;V1", *commas],
            "semicolons and time": [
                "time;I;V1",
                *(f"{n / 250:.3f};".replace(".", ",") + row for n, row in enumerate(commas)),
            ],
            "tabs and commas": ["I\tV1", *lines(ROWS, "\t", ",")],
            "physiobank": [
                "'Elapsed time','I','V1'",
                "'seconds','mV','mV'",
                *(f"{n / 250:.3f},{row}" for n, row in enumerate(plain)),
            ],
            "physiobank clock": [
                "'Elapsed time','I','V1'",
                "'hh:mm:ss.mmm','mV','mV'",
                *(f"'0:00.{4 * n:03}',{row}" for n, row in enumerate(plain)),
            ],
            "physiobank date": [
                "'Elapsed time','I','V1'",
                "'hh:mm:ss.mmm','mV','mV'",
                *(f"'[09:00:00.{4 * n:03} 01/02/1990]',{row}" for n, row in enumerate(plain)),
            ],
            "quoted commas": ['"I","V1"', *('"' + row.replace(";", '","') + '"' for row in commas)],
            "comments": ["# made", "I,V1", *plain[:20], "# a pause for coffee", *plain[20:]],
            "blank end": ["I,V1", *plain, "", "", ""],
            "index": [",I,V1", *(f"{n},{row}" for n, row in enumerate(plain))],
            "seconds": ["t,I,V1", *(f"{n * 0.004:.6f},{row}" for n, row in enumerate(plain))],
            "clock": ["time,I,V1", *(f"2024-05-01T10:00:00.{4 * n:03},{row}" for n, row in enumerate(plain))],
        }[name]
    )


@pytest.mark.parametrize(
    "name",
    ["names", "ends in a delimiter", "names end so too", "row names of R", "row names without quotes", "semicolons",
     "semicolons and time", "tabs and commas", "physiobank", "physiobank clock", "physiobank date", "quoted commas",
     "comments", "blank end", "index", "seconds", "clock"],
)  # fmt: skip
def test_tables_as_programs_write_them_are_right(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "a.csv", table(name))
    says = any(word in name for word in ("physio",))
    timed = says or any(word in name for word in ("time", "seconds", "clock"))
    read = ep.read(path, rate_hz=None if timed else 250, unit=None if says else "mV")
    assert (read.leads, read.rate_hz) == (("I", "V1"), 250)
    np.testing.assert_allclose(read.signal, ROWS.T, atol=1e-6)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig"])
def test_a_header_in_any_usual_encoding_gives_its_units(tmp_path: Path, encoding: str) -> None:
    text = "I [µV],V1 [µV]\n" + "\n".join(lines(ROWS * 1000))
    read = ep.read(written(tmp_path / "a.csv", text.encode(encoding)), rate_hz=250)
    np.testing.assert_allclose(read.signal, ROWS.T, atol=1e-4)


def test_the_log_of_a_chest_strap_is_read(tmp_path: Path) -> None:
    rows = []
    for n, value in enumerate(beats(260, 1, 130)):
        clock, ns = f"2023-05-15T12:34:{56 + n // 130:02}.{n % 73 * 13:03}", 599_618_164_814_402_784 + n * 7_692_308
        rows.append(f"{clock};{ns};{n * 7.692308:.6f};{round(1000 * value)}")
    text = "Phone timestamp;sensor timestamp [ns];timestamp [ms];ecg [uV]\n" + "\n".join(rows)
    read = ep.read(written(tmp_path / "a.txt", text), {"ecg": "I"})
    assert (read.leads, read.rate_hz) == (("I",), 130)
    assert peak(read, "I") == pytest.approx(1, abs=0.02)


def test_a_rate_from_times_is_as_fractional_as_the_times(tmp_path: Path) -> None:
    for rate_hz, digits, expected in ((249.89, 7, 249.89), (360, 3, 360), (62.4725, 6, 62.4725), (250, 3, 250)):
        text = "time,I\n" + "\n".join(f"{n / rate_hz:.{digits}f},{n % 7}" for n in range(2000))
        assert ep.read(written(tmp_path / "a.csv", text), unit="mV").rate_hz == pytest.approx(expected, rel=1e-6)
    gap = "time,I\n" + "\n".join(f"{(n + (n > 500)) / 250:.3f},{n % 7}" for n in range(1000))
    with pytest.raises(ReadError, match="no evenly spaced time"):
        ep.read(written(tmp_path / "a.csv", gap), unit="mV")


def test_the_layout_of_ten_public_loaders_with_its_adc_zero(tmp_path: Path) -> None:
    rows = "\n".join(f"{n},{1024 + round(200 * a)},{1024 + round(200 * b)}" for n, (a, b) in enumerate(ROWS))
    path = written(tmp_path / "100.csv", "'sample #','MLII','V5'\n" + rows)
    read = ep.read(path, rate_hz=360, unit="5uV", zero=1024)
    assert read.leads == ("II", "V5")
    np.testing.assert_allclose(read.signal, ROWS.T, atol=2.6e-3)
    with pytest.raises(ReadError, match="zero = 1024 is declared"):
        ep.read(write_wfdb(tmp_path, "w", digital()), zero=1024)


def test_one_column_with_decimal_commas_is_never_two_leads(tmp_path: Path) -> None:
    values = np.round(beats(200) * 1.2345 - 0.2, 4)
    column = [f"{value:.4f}".rstrip("0").rstrip(".").replace(".", ",") for value in values]
    for whole in (False, True):
        path = written(tmp_path / "a.csv", "\n".join(c for c in column if whole or "," in c))
        with pytest.raises(ReadError):
            ep.read(path, rate_hz=200, unit="mV", leads=["I", "II"])
        kept = [v for v, c in zip(values, column, strict=True) if whole or "," in c]
        np.testing.assert_allclose(ep.read(path, rate_hz=200, unit="mV", leads=["I"]).signal[0], kept, atol=1e-6)
    path = written(tmp_path / "a.csv", "\n".join(f"{c},{c}" for c in column if "," in c))
    with pytest.raises(ReadError, match="decimal commas"):
        ep.read(path, rate_hz=200, unit="mV", leads=["I", "II", "V1", "V2"])
    named = written(tmp_path / "b.csv", "I\n" + "\n".join(column))
    np.testing.assert_allclose(ep.read(named, rate_hz=200, unit="mV").signal[0], values, atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("I,V1\n1,2\n3,4\n5\n", "line 4: 1 cells, the first row has 2"),
        ("I,V1\n1,2\n3,4\n5,6,7\n8,9\n", "line 4: 3 cells"),
        ("I,V1\n1,2\n3,4\n\n5,6\n", "line 4: 1 cells"),
        ("I\n1\n2\n\n3\n", "line 4: empty"),
        ("I,V1\n1,2\n3,4\n5,six\n", "line 4: 'six' is no number"),
        ("I,V1,V2\n1,2\n3,4\n5,6\n", "2 cells, the line of names has 3"),
        ("time,I\n0,1,2\n1,2,3\n", "3 cells, the line of names has 2"),
        ("a,b\nc,d\ne,f\n", "text, and no table of numbers: 'c' in line 2 is none"),
        ("1,2\n3,4\n" * 30 + "5\n", "line 61: 1 cells"),
    ],
)
def test_a_short_row_or_a_word_is_an_error_with_its_line(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(ReadError, match=message):
        ep.read(written(tmp_path / "a.csv", rows), rate_hz=250, unit="mV", leads=["I", "V1"])


@pytest.mark.parametrize(
    ("rows", "cell"),
    [
        ("I,V1\n1,-\n2,4\n3,5\n", "'-' in line 2"),
        ("I,V1\n0x10,1\n2,4\n3,5\n", "'0x10' in line 2"),
        ("x,1\n2,3\n4,5\n", "'x' in line 1"),
        ("0.5,x\n2,3\n4,5\n", "'x' in line 1"),
        ("I,V1\n1,2\nx,4\n5,6\n", "'x' in line 3"),
    ],
)
def test_a_first_row_with_a_cell_that_is_no_number_is_never_passed_over(tmp_path: Path, rows: str, cell: str) -> None:
    with pytest.raises(ReadError, match=f"{cell} is none"):
        ep.read(written(tmp_path / "a.csv", rows), rate_hz=250, unit="mV", leads=["I", "V1"])


@pytest.mark.parametrize(
    "rows",
    [
        ",0,1\n0,0.5,0.6\n1,0.7,0.8\n", "0,1\n0.5,0.6\n0.7,0.8\n", "  0.5   0.6\n  0.7   0.8\n", "0.5|0.6\n0.7|0.8\n",
        "sep=;\nI;V1\n0,5;0,6\n0,7;0,8\n", "I_mV,V1_mV\n0.5,0.6\n0.7,0.8\n", "500,600\n700,800\n",
        "I V1\n0,5 0,6\n0,7 0,8\n",
    ],
)  # fmt: skip
def test_names_of_pandas_blanks_and_what_a_spreadsheet_adds(tmp_path: Path, rows: str) -> None:
    unit = "uV" if "500" in rows else "mV"
    read = ep.read(written(tmp_path / "a.csv", rows), rate_hz=250, unit=unit, leads=["I", "V1"])
    np.testing.assert_allclose(read.signal, [[0.5, 0.7], [0.6, 0.8]], rtol=1e-6)


@given(
    rows=st.lists(st.tuples(*[st.floats(-5, 5).map(lambda v: round(v, 4))] * 3), min_size=3, max_size=30),
    delimiter=st.sampled_from([",", ";", "\t"]),
    comma=st.booleans(),
    names=st.booleans(),
)
@quick
def test_any_table_reads_as_it_was_written(
    rows: list[tuple[float, float, float]], delimiter: str, comma: bool, names: bool, tmp_path: Path
) -> None:
    decimal = "," if comma and delimiter != "," else "."
    body = lines(np.array(rows), delimiter, decimal)
    path = written(tmp_path / "a.csv", "\n".join([*([delimiter.join(["I", "II", "V1"])] if names else []), *body]))
    read = ep.read(path, rate_hz=250, unit="mV", leads=["I", "II", "V1"])
    held = read.signal[[read.leads.index(lead) for lead in ("I", "II", "V1")]]
    np.testing.assert_allclose(held, np.array(rows).T, atol=1e-4)


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "<NA>", "-1.#IND", "#N/A", "1e999"])
@pytest.mark.parametrize("comment", ["", "# a remark\n"])  # with one, lines are read one by one
def test_a_cell_that_is_no_number_is_refused_however_the_table_is_read(tmp_path: Path, cell: str, comment: str) -> None:
    rows = "".join(f"{n / 250},0.{n % 7}\n" for n in range(500))
    path = tmp_path / "ecg.csv"
    path.write_text(f"time,I\n{rows}{comment}2,{cell}\n")
    with pytest.raises(ReadError, match=r"is no number|infinite"):
        ep.read(path, unit="mV")


@pytest.mark.parametrize("cell", ["", "NaN", "nan", "NA", "n/a", "N/A", "null", "None"])
def test_a_cell_that_says_missing_is_missing_however_the_table_is_read(tmp_path: Path, cell: str) -> None:
    rows = "".join(f"{n / 250},0.{n % 7}\n" for n in range(500))
    for comment in ("", "# a remark\n"):
        (tmp_path / "ecg.csv").write_text(f"time,I\n{rows}{comment}2,{cell}\n")
        assert np.isnan(ep.read(tmp_path / "ecg.csv", unit="mV").signal).sum() == 1
