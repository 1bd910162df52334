"""The command line as a user runs it: simulate, ingest, train, evaluate, predict, embed; and every bad input."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
import yaml

from ecgprism.cli.entry import app, main

from .conftest import small_tree
from .records import write_wfdb

COMMAND = [sys.executable, "-m", "ecgprism"]
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


def ecgprism(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=cwd)


def started(*arguments: str) -> subprocess.Popen[str]:
    """Start a command that a Ctrl-C can reach, with its workers, even where this process ignores one."""
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip


def passes(*arguments: object, cwd: Path | None = None) -> str:
    done = ecgprism(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def refuses(*arguments: object, status: int = 2) -> str:
    """Run in this process (an interpreter with torch takes seconds to start) and return the one line of the error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setattr(sys, "argv", ["ecgprism", *map(str, arguments)])
        main()
    assert ended.value.code == status, err.getvalue() + out.getvalue()
    lines = err.getvalue().strip().splitlines()
    assert lines[-1].startswith("error: "), err.getvalue()
    return lines[-1]


def write_config(path: Path, corpus: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump({**small_tree(corpus), **changes}))
    return path


def write_record(folder: Path, name: str, leads: list[str], seconds: float = 10.0, rate: int = 100) -> Path:
    from ecgprism.ecg.leads import STANDARD_LEADS
    from ecgprism.simulator.simulation import simulate

    recording = simulate(7, rate_hz=rate, duration_s=seconds).recording
    rows = [list(STANDARD_LEADS).index(lead) for lead in leads]
    signal = recording.signal[rows].T.astype(np.float64)
    folder.mkdir(exist_ok=True)
    wfdb.wrsamp(
        name, fs=rate, units=["mV"] * len(leads), sig_name=leads, p_signal=signal, fmt=["16"] * len(leads),
        adc_gain=[2000.0] * len(leads), baseline=[0] * len(leads), write_dir=str(folder),
    )  # fmt: skip
    return folder / f"{name}.hea"


def test_the_whole_path(tmp_path: Path) -> None:
    out = passes("ingest", "simulated", "n=120", "seed=3", "--out", "corpora/sim", cwd=tmp_path)
    assert "120 recordings at 100 Hz" in out
    config = write_config(tmp_path / "config.yaml", Path("corpora/sim"))
    out = passes("train", config, "train.epochs=1", "--out", "runs/a", cwd=tmp_path)
    for said in ("12 x T=1000", "L=12 x F=25", "patients", "parameters", "best epoch 1 of 1"):
        assert said in out
    out = passes("evaluate", "runs/a", "--resamples", "50", cwd=tmp_path)
    assert "macro_auroc" in out
    report = json.loads((tmp_path / "runs/a/metrics.json").read_text())
    assert report["split"] == "test"
    predictions = pd.read_parquet(tmp_path / "runs/a/predictions.parquet")
    assert len(predictions) == report["items"] > 0
    assert {"record_id", "patient_id", "target_NORM", "p_NORM"} <= set(predictions.columns)

    header = write_record(tmp_path / "files", "one", ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3"])
    out = passes("predict", "runs/a", header.parent, "--out", "predictions.csv", "--metadata", "age=60", cwd=tmp_path)
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert table["record_id"].tolist() == ["one"]
    probabilities = table[[f"p_{name}" for name in ("NORM", "MI", "STTC", "CD", "HYP")]]
    assert ((probabilities >= 0) & (probabilities <= 1)).all(axis=None)
    done = ecgprism("predict", tmp_path / "runs/a", header)
    assert "leads missing: V4, V5, V6" in done.stderr
    assert done.stdout.startswith("record_id,path,p_NORM")

    passes("embed", "runs/a", "files", "--out", "embeddings.parquet", cwd=tmp_path)
    embedded = pd.read_parquet(tmp_path / "embeddings.parquet")
    assert {"record_id", "fused", "wave", "stft", "meta"} <= set(embedded.columns)
    assert len(embedded["fused"][0]) == 16

    # external validation on another corpus of the same classes
    passes("ingest", "simulated", "n=60", "seed=4", "--out", "corpora/other", cwd=tmp_path)
    passes("evaluate", "runs/a", "--corpus", "corpora/other", "--out", "external", "--resamples", "20", cwd=tmp_path)
    external = json.loads((tmp_path / "external/metrics.json").read_text())
    assert (external["external"], external["split"], external["items"]) == (True, "all", 60 - external["left_out"])

    out = passes("train", config, "--fast-dev-run", cwd=tmp_path)
    assert "all passed" in out


def test_simulated_files_are_the_same_for_any_number_of_workers_and_can_be_ingested(tmp_path: Path) -> None:
    for workers in ("1", "2"):
        out = passes(
            "simulate", "--n", "40", "--out", f"sim{workers}", "--workers", workers, "--rate", "250", cwd=tmp_path
        )
        assert "40 records of 250 Hz" in out
    one, two = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "sim1", tmp_path / "sim2")
    )
    assert one.keys() == two.keys()
    assert len(one) == 40 * 4 + 3
    assert all(one[path] == two[path] for path in one)

    beats = pd.read_parquet(tmp_path / "sim1/beats.parquet")
    annotation = wfdb.rdann(str(tmp_path / "sim1/wfdb/sim_000003"), "atr")
    of_record = beats[beats["record_id"] == "sim_000003"]
    is_beat = np.array(annotation.symbol) != "+"
    np.testing.assert_allclose(annotation.sample[is_beat] / 250, of_record["r_s"], atol=0.5 / 250 + 1e-9)
    assert [s for s in annotation.symbol if s != "+"] == of_record["symbol"].tolist()
    assert annotation.aux_note[0].rstrip("\0").startswith("(")
    waves = wfdb.rdann(str(tmp_path / "sim1/wfdb/sim_000003"), "wave")
    assert waves.symbol.count("t") == of_record["t_peak_s"].between(0, 10).sum()
    truth = pd.read_parquet(tmp_path / "sim1/records.parquet").set_index("record_id")
    assert json.loads(truth.loc["sim_000003", "conditions"])

    labels = pd.read_csv(tmp_path / "sim1/manifest.csv").set_index("record_id")["labels"]
    assert (labels.fillna("") == truth["superdiagnostic_labels"]).all()
    labelled = pd.read_csv(tmp_path / "sim1/manifest.csv").dropna(subset=["labels"])
    labelled.to_csv(tmp_path / "sim1/labelled.csv", index=False)
    out = passes("ingest", "manifest", "sim1/labelled.csv", "--out", "corpora/files", cwd=tmp_path)
    assert f"{len(labelled)} recordings at 100 Hz" in out


def test_info_says_what_a_recording_holds_and_draws_it(tmp_path: Path) -> None:
    header = write_record(tmp_path / "files", "one", ["I", "II", "V1"])
    out = passes("info", header, "--plot", tmp_path / "pictures/one.png")
    for said in ("WFDB", "I, II, III, aVR, aVL, aVF, V1", "10.0 s, 1000 samples at 100 Hz", "derived"):
        assert said in out
    assert (tmp_path / "pictures/one.png").stat().st_size > 10_000
    (tmp_path / "ecg.csv").write_text("\n".join(f"{k % 50 - 25},7" for k in range(2000)))
    assert "declare it, as in --rate 500" in refuses("info", tmp_path / "ecg.csv")
    out = passes("info", tmp_path / "ecg.csv", "--rate", "200", "--unit", "5uV", "--leads", "I,V1")
    assert "10.0 s, 2000 samples at 200 Hz" in out
    assert "flat" in out
    assert "no such file" in refuses("info", tmp_path / "nothing.edf")
    assert "'Z' is no lead" in refuses("info", tmp_path / "ecg.csv", "--lead", "ECG=Z")


def test_datasets_are_listed_and_an_unknown_one_is_named(tmp_path: Path) -> None:
    out = passes("datasets")
    for said in ("ptbxl", "cinc2017", "mitbih", "nstdb", "ludb", "challenge2021", "chapman", "georgia", "cpsc2018"):
        assert said in out
    assert "did you mean 'ptbxl'" in refuses("fetch", "ptb-xl", "--to", tmp_path / "d")
    assert "https" in refuses("fetch", "ptbxl", "--to", tmp_path / "d", "--mirror", "http://example.org/files")
    assert not (tmp_path / "d").exists()


def test_simulate_writes_a_corpus_of_the_asked_condition(tmp_path: Path) -> None:
    arguments = ("--format", "corpus", "--rate", "100", "--condition", "lbbb=0.7", "--task", "superdiagnostic")
    passes("simulate", "--n", "12", "--out", "corpora/lbbb", *arguments, cwd=tmp_path)
    items = pd.read_parquet(tmp_path / "corpora/lbbb/items.parquet")
    classes = json.loads((tmp_path / "corpora/lbbb/corpus.json").read_text())["tasks"]["superdiagnostic"]["classes"]
    assert all(classes.index("CD") in held for held in items["labels.superdiagnostic"])


def test_simulate_refuses_what_cannot_be_simulated(tmp_path: Path) -> None:
    out = tmp_path / "sim"
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    for arguments, message in (
        (("--out", tmp_path / "full"), "exists already"),
        (("--out", out, "--condition", "lbb"), "did you mean 'lbbb'"),
        (("--out", out, "--condition", "lbbb", "--condition", "rbbb"), "lbbb and rbbb cannot hold together"),
        (("--out", out, "--condition", "lbbb=much"), "'much' is no number"),
        (("--out", out, "--condition", "lbbb=2"), "severity 2"),
        (("--out", out, "--snr-db", "nan"), "snr_db = nan"),
        (("--out", out, "--rate", "0"), "rate"),
        (("--out", out, "--rate=-5"), "rate"),
        (("--out", out, "--seconds", "0"), "duration_s"),
        ((), "--out DIR"),
    ):
        assert message in refuses("simulate", "--n", "4", *arguments), arguments
    assert refuses("simulate", "--n", "0", "--out", out)
    assert (tmp_path / "full/mine.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"full"}


def test_the_demo_prints_its_table_and_writes_its_pictures(tmp_path: Path) -> None:
    out = passes("demo", "--out", "demo", "--records", "200", "--epochs", "1", cwd=tmp_path)
    for said in ("fused", "wave", "stft", "freq", "meta", "Next, on your own data"):
        assert said in out
    assert (tmp_path / "demo/ecg.png").stat().st_size > 10_000
    assert (tmp_path / "demo/training.png").is_file()
    passes("demo", "--out", "demo", "--records", "200", "--epochs", "1", cwd=tmp_path)
    (tmp_path / "demo/thesis.txt").touch()
    assert "holds 'thesis.txt' besides a demo" in refuses("demo", "--out", tmp_path / "demo")
    assert (tmp_path / "demo/thesis.txt").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    assert "not of an earlier demo" in refuses("demo", "--out", tmp_path / "mine")


@pytest.mark.parametrize(("kind", "given"), [("views", 1), ("encoders", 2), ("fusions", 2), ("sources", 0)])
def test_list_shows_every_component_with_its_options(kind: str, given: int) -> None:
    from ecgprism.registry import components, options

    head, *lines = passes("list", kind).splitlines()
    begin, end = head.index("options"), head.index("what it is")
    shown: dict[str, str] = {}
    name = ""
    for line in lines:
        name = line[:begin].strip() or name  # options go on in the next lines
        shown[name] = f"{shown.get(name, '')} {line[begin:end]}"
    for name, cls in components(kind).items():
        found = {option.split("=")[0] for option in shown[name].split()}
        assert found >= set(options(cls, given)), name


def test_help_is_quick_and_shows_examples() -> None:
    began = time.monotonic()
    assert "ingest" in passes("--help")
    assert time.monotonic() - began < 20  # a hang, not a slow machine
    for command in app.registered_commands:
        assert "Example" in (command.callback.__doc__ or "")


def test_ingest_interrupted_by_ctrl_c_goes_on(tmp_path: Path) -> None:
    arguments = ["ingest", "simulated", "n=4000", "--out", str(tmp_path / "c"), "--workers", "2"]
    process = started(*arguments)
    journal = tmp_path / "c.partial/journal.jsonl"
    while not (journal.is_file() and journal.stat().st_size > 20_000):
        time.sleep(0.02)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "error: interrupted" in err
    assert "Traceback" not in err
    assert not (tmp_path / "c").exists()
    assert "from an interrupted ingest" in passes(*arguments)
    assert (tmp_path / "c/corpus.json").is_file()


def test_training_interrupted_by_ctrl_c_can_be_resumed(corpus_path: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", corpus_path)
    arguments = ["train", str(config), "train.epochs=400", "train.patience=400", "--out", str(tmp_path / "run")]
    process = started(*arguments)
    while not (tmp_path / "run/history.csv").is_file():
        time.sleep(0.05)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "error: interrupted" in err
    assert "Traceback" not in err
    # the interrupted run already holds its best model
    assert "macro_auroc" in passes("evaluate", tmp_path / "run", "--resamples", "10")
    assert "exists already" in refuses(*arguments)


def test_an_ablation_interrupted_by_ctrl_c_goes_on(corpus_path: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", corpus_path)
    arguments = [
        "ablate",
        str(config),
        "--seeds",
        "1",
        "--workers",
        "1",
        "--resamples",
        "20",
        "--out",
        str(tmp_path / "a"),
    ]
    process = started(*arguments)
    while not list((tmp_path / "a").glob("runs/*/*/history.csv")):
        time.sleep(0.05)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers as well
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "error: interrupted; run the same command again" in err
    assert "Traceback" not in err
    out = passes(*arguments)
    assert "against the best single view" in " ".join(out.split())
    assert "Shapley value" in out
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {".lock", "ledger.json", "ledger.png", "ablation.yaml", "runs"}


def test_compare_and_stress(run_path: Path, corpus_path: Path, tmp_path: Path) -> None:
    for aggregate in ("mean", "max"):
        passes("evaluate", run_path, "--aggregate", aggregate, "--out", tmp_path / aggregate, "--resamples", "10")
    out = passes(
        "compare", tmp_path / "mean", tmp_path / "max", "--out", tmp_path / "c/comparison.json", "--resamples", "20"
    )
    assert "DeLong" in out
    assert json.loads((tmp_path / "c/comparison.json").read_text())["pairs"][0]["accuracy"]["p"] == 1.0
    out = passes("stress", run_path, "--only", "gain", "--only", "swap", "--out", tmp_path / "s", "--resamples", "10")
    assert "swap: LA/RA" in out
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"stress.json", "stress.png"}


def test_one_fold_is_trained_and_evaluated(corpus_path: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", corpus_path)
    passes("train", config, "fold=2/4", "train.epochs=1", "--out", tmp_path / "run")
    assert " of split test" in passes("evaluate", tmp_path / "run", "--resamples", "10")
    tested = pd.read_parquet(tmp_path / "run/predictions.parquet")
    assert 0.2 < len(tested) / 160 < 0.3
    assert "expected a part of a cross-validation" in refuses("train", config, "fold=5/4", "--out", tmp_path / "x")


def test_teachers_of_folds_of_the_training_part_teach_a_student(corpus_path: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", corpus_path)
    for k in (1, 2):
        passes("train", config, f"fold={k}/2 of train", "train.epochs=1", "--out", tmp_path / f"teacher-{k}")
    runs, student = [tmp_path / "teacher-1", tmp_path / "teacher-2"], tmp_path / "student"
    out = passes("distill", *runs, "train.epochs=1", "--into", config, "--soft", "0.5", "--out", student)
    assert "judged by 1 teacher that had not seen them" in " ".join(out.split())
    assert yaml.safe_load((student / "config.yaml").read_text())["distill"]["soft"] == 0.5
    assert len(json.loads((student / "run.json").read_text())["teachers"]) == 2
    passes("evaluate", student, "--resamples", "10")
    none = refuses("distill", "a=b", "--into", config, "--out", tmp_path / "x")
    assert "expected the folders of trained runs" in none
    assert "--into CONFIG" in refuses("distill", *runs, "--out", tmp_path / "x")
    told = refuses("distill", runs[0], "fold=1/2", "--into", config, "--out", tmp_path / "x")
    assert "was trained on" in told
    assert not (tmp_path / "x").exists()


def test_bad_commands(tmp_path: Path, corpus_path: Path, run_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", corpus_path)
    out = tmp_path / "x"
    assert "did you mean 'cinc2017'" in refuses("ingest", "cinc2071", tmp_path, "--out", out)
    assert "no such file or folder" in refuses("ingest", "ptbxl", tmp_path / "nowhere", "--out", out)
    assert "not the folder of PTB-XL" in refuses("ingest", "ptbxl", tmp_path, "--out", out)
    assert "no REFERENCE.csv" in refuses("ingest", "cinc2017", tmp_path, "--out", out)
    assert "--out" in refuses("ingest", "simulated")
    assert "n = -1" in refuses("ingest", "simulated", "n=-1", "--out", out)
    assert "did you mean 'seed'" in refuses("ingest", "simulated", "sead=1", "--out", out)
    done = ecgprism("ingest", "simulated", "n=10", "--out", corpus_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "exists already" in done.stderr
    assert "rate 1e+09 Hz" in refuses("ingest", "simulated", "n=10", "--rate", "1e9", "--out", out)
    assert "did you mean 'fusion'" in refuses("train", config, "fusoin=concat", "--out", out)
    assert "did you mean 'epochs'" in refuses("train", config, "train.epoch=3", "--out", out)
    assert "train.lr" in refuses("train", config, "train.lr=fast", "--out", out)
    assert "train.epochs" in refuses("train", config, "train.epochs=0", "--out", out)
    assert "did you mean 'waveform'" in refuses("train", config, "views.wave.view=wavefrom", "--out", out)
    assert "did you mean 'concat'" in refuses("train", config, "fusion=concatt", "--out", out)
    misfit = refuses("train", config, "views.wave.encoder=crnn2d", "--out", out)
    assert "views.wave" in misfit
    assert "(L, F, T)" in misfit
    assert "L=12 x T=1000" in misfit
    assert "no option 'widht'; did you mean 'width'" in refuses(
        "train", config, "views.wave.encoder={cnn_bilstm: {widht: 3}}", "--out", out
    )
    assert "no such configuration" in refuses("train", tmp_path / "no.yaml", "--out", out)
    assert "no corpus here" in refuses("train", config, f"corpus={tmp_path / 'none'}", "--out", out)
    assert "no task" in refuses("train", config, "task=rhythm", "--out", out)
    assert "no model here" in refuses("evaluate", tmp_path)
    assert "split 'tset'" in refuses("evaluate", run_path, "--split", "tset")
    assert "no such file" in refuses("predict", run_path, tmp_path / "no.hea")
    assert "no such column; did you mean 'age'" in refuses("predict", run_path, tmp_path, "--metadata", "agee=3")
    assert "is no lead" in refuses("predict", run_path, tmp_path, "--lead", "ECG=Q")
    assert "--out" in refuses("ablate", config)
    assert "at least two views; there is only wave" in refuses(
        "ablate", config, "views={wave: {view: waveform, encoder: cnn_bilstm}}", "--out", out
    )
    assert "two runs or more" in refuses("compare", run_path)
    assert "evaluate" in refuses("compare", run_path, tmp_path)
    assert "did you mean 'noise'" in refuses("stress", run_path, "--only", "noies")
    assert "none of the noise records bw, ma, em" in refuses("stress", run_path, "--noise", tmp_path)
    assert not out.exists()
    assert not out.with_name("x.partial").exists()


def test_all_rejected_is_status_3_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,labels\na,X\nb,Y\n")
    message = refuses("ingest", "manifest", tmp_path / "m.csv", "--out", tmp_path / "c", status=3)
    assert "all 2 recordings were rejected" in message
    assert "no such file" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv"]


def test_one_bad_record_does_not_stop_the_rest_unless_strict(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        write_record(tmp_path, name, ["I", "II"])
    data = tmp_path / "b.dat"
    data.write_bytes(data.read_bytes()[:100])
    (tmp_path / "m.csv").write_text("path,labels\na,X\nb,Y\nc,X\nd,Y\n")
    out = passes("ingest", "manifest", tmp_path / "m.csv", "--out", tmp_path / "corpus")
    assert "3 recordings" in out
    assert "1 rejected" in out
    rejected = pd.read_csv(tmp_path / "corpus/rejected.csv")
    assert rejected["record_id"].tolist() == ["b"]
    assert "truncated" in rejected["reason"][0]
    message = refuses("ingest", "manifest", tmp_path / "m.csv", "--out", tmp_path / "strict", "--strict")
    assert "b.dat" in message
    assert not (tmp_path / "strict").exists()


def test_a_corpus_with_other_classes_than_the_model_is_refused(tmp_path: Path, run_path: Path) -> None:
    write_record(tmp_path, "a", ["I", "II"])
    (tmp_path / "m.csv").write_text("path,labels\na,X\n")
    passes("ingest", "manifest", tmp_path / "m.csv", "--out", tmp_path / "corpus")
    message = refuses("evaluate", run_path, "--corpus", tmp_path / "corpus", "--out", tmp_path / "e")
    assert "no task with the model's classes" in message
    assert not (tmp_path / "e").exists()


def test_evaluating_on_a_corpus_that_changed_is_refused(tmp_path: Path, corpus_path: Path, run_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_path, run)
    passes("ingest", "simulated", "n=60", "seed=9", "--out", tmp_path / "changed")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["corpus"] = str(tmp_path / "changed")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert "has changed since" in refuses("evaluate", run)


def test_a_training_tells_a_machine_or_nobody_and_outlives_its_reader(corpus_path: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", corpus_path)
    told = json.loads(
        passes("train", config, "--out", tmp_path / "json", "--json", "--logger", "csv", "train.epochs=1")
    )
    assert told["best_epoch"] == 1
    assert told["history"][0]["val_loss"] > 0
    assert (tmp_path / "json/csv/metrics.csv").is_file()
    assert not (tmp_path / "json/tensorboard").exists()
    command = [*COMMAND, "train", str(config), "--out", str(tmp_path / "head"), "train.epochs=1"]
    training = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert training.stdout is not None
    training.stdout.readline()
    training.stdout.close()  # as `| head -1` does
    assert training.wait(300) == 0
    assert (tmp_path / "head/model.safetensors").is_file()


def test_what_a_program_reads_is_one_json_text(run_path: Path, tmp_path: Path) -> None:
    record = tmp_path / "a"
    values = np.random.default_rng(0).integers(-500, 500, (1000, 2)) * (1, 0)
    write_wfdb(tmp_path, "a", values, leads=["II", "V1"], rate_hz=100)
    told = json.loads(passes("info", record, "--json"))
    assert (told["leads"], told["rate_hz"], told["quality"]["flat"]) == (["II", "V1"], 100, ["V1"])
    assert {"concat", "gated"} <= {each["name"] for each in json.loads(passes("list", "fusions", "--json"))["fusions"]}
    assert "ptbxl" in {each["name"] for each in json.loads(passes("datasets", "--json"))}
    (row,) = json.loads(passes("predict", run_path, record, "--json", "--out", tmp_path / "p.csv"))
    assert row["record_id"] == "a"
    assert (tmp_path / "p.csv").is_file()
    report = json.loads(passes("evaluate", run_path, "--json", "--out", tmp_path / "e", "--resamples", 10))
    assert 0 <= report["metrics"]["macro_auroc"]["value"] <= 1


def test_a_shell_completes_commands() -> None:
    asked = {"_ECGPRISM_COMPLETE": "complete_bash", "COMP_WORDS": "ecgprism tr", "COMP_CWORD": "1"}
    program = Path(sys.executable).with_name("ecgprism")
    told = subprocess.run([program], env=ENVIRONMENT | asked, capture_output=True, text=True, check=False)
    assert told.stdout.split() == ["train"]


def test_a_device_or_a_logger_that_is_not_there_is_refused_before_anything_is_written(
    corpus_path: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "c.yaml", corpus_path)
    for words, said in (
        (["train.device=cuda"], "this machine has none; there are: auto, cpu"),
        (["--logger", "wandb"], "train.loggers: wandb needs wandb: pip install 'ecgprism[wandb]'"),
        (["train.loggers=[carbon]"], "train.loggers"),
    ):
        assert said in refuses("train", config, "--out", tmp_path / "run", *words)
        assert not (tmp_path / "run").exists()
