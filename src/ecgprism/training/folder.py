"""The run folder: what a training, its evaluation and its stress test write, by name; nothing else is ever deleted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TypedDict, cast

from ecgprism.errors import EcgprismError, one_line
from ecgprism.files import LOCK, PARTIAL, atomic
from ecgprism.interface.storage import MODEL, PLUGINS, SIDECAR

CONFIG = "config.yaml"  # the configuration, defaults filled in
LAST = "last.ckpt"  # all that a resumed training needs, after the last whole epoch
HISTORY = "history.csv"  # one line an epoch
RUN = "run.json"  # fingerprint of the data, versions, what the training cost
TENSORBOARD, CSV, MLFLOW, WANDB = "tensorboard", "csv", "mlflow", "wandb"  # logs
METRICS, PREDICTIONS = "metrics.json", "predictions.parquet"  # of the last evaluation
VALIDATION, TEST, COALITIONS = "validation.parquet", "test.parquet", "coalitions.npz"  # in an ablation
STRESS, STRESS_PICTURE = "stress.json", "stress.png"
OWN = (
    CONFIG, LAST, HISTORY, RUN, TENSORBOARD, CSV, MLFLOW, WANDB, PLUGINS, MODEL, SIDECAR, METRICS, PREDICTIONS,
    VALIDATION, TEST, COALITIONS, STRESS, STRESS_PICTURE,
)  # fmt: skip


REPLACED = "replaced" + PARTIAL  # the run that is overwritten, until the new one is done


class Facts(TypedDict, total=False):
    """What run.json holds: data, versions and hashes of teachers from the beginning, the rest when it is done."""

    fingerprint: str
    teachers: list[str]
    versions: dict[str, str]
    best_epoch: int
    epochs: int
    parameters: int
    training_seconds: float
    device: str
    threads: int


def held(out: Path) -> list[str]:
    """Return the names in a folder that are no leftover of an interrupted write."""
    if not out.is_dir():
        return []
    return sorted(path.name for path in out.iterdir() if path.name != LOCK and not path.name.endswith(PARTIAL))


def clear(out: Path) -> None:
    """Delete what runs write, and nothing else."""
    for name in (*OWN, *(name + PARTIAL for name in OWN)):
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def set_aside(out: Path) -> None:
    """Put the run that is overwritten into a folder in it; what was put there before a kill is older, and stays."""
    aside = out / REPLACED
    if aside.exists():
        clear(out)
        return
    there = [name for name in OWN if (out / name).exists()]
    if there:
        aside.mkdir()
        for name in there:
            (out / name).replace(aside / name)
    clear(out)


def put_back(out: Path) -> bool:
    """Return the overwritten run to its place, and whether there was one."""
    aside = out / REPLACED
    if not aside.is_dir():
        return False
    clear(out)
    for path in aside.iterdir():
        path.replace(out / path.name)
    aside.rmdir()
    return True


def drop_replaced(out: Path) -> None:
    """Delete the overwritten run: the new one is done."""
    shutil.rmtree(out / REPLACED, ignore_errors=True)


def write_facts(out: Path, facts: Facts) -> None:
    """Write run.json."""
    with atomic(out / RUN) as path:
        path.write_text(json.dumps(facts, indent=2) + "\n")


def read_facts(out: Path) -> Facts:
    """Read run.json. Raises EcgprismError when it is missing or damaged."""
    try:
        facts = json.loads((out / RUN).read_text())
        if not isinstance(facts, dict) or not isinstance(facts.get("fingerprint"), str):
            raise ValueError("no fingerprint in it")
    except (OSError, ValueError, RecursionError) as error:
        raise EcgprismError(
            f"{out / RUN}: damaged ({one_line(error)}); train again (--overwrite, overwrite=True)"
        ) from None
    return cast(Facts, facts)
