"""Coverage-guided fuzzing of every reader: pip install atheris && python bench/fuzz_readers.py SEEDS [--seconds 300]

SEEDS is a folder of small recordings of any format. Whatever the bytes, `read` must give a recording or a ReadError of
one line, within 2 s of CPU and 500 MB; anything else stops the run and leaves the input in ./crash-*.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ecgprism.formats", "ecgdatakit", "edfio"]):
    import edfio  # noqa: F401

    from ecgprism.errors import ReadError
    from ecgprism.formats import reading

LIMIT_S, LIMIT_MB = 2.0, 500
LARGEST_SEED = 60_000
_FOLDER = Path(tempfile.mkdtemp(prefix="ecgprism-fuzz-"))


def one_input(content: bytes) -> None:
    path = _FOLDER / "input"
    path.write_bytes(content)
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.process_time()
    try:
        recording = reading.read(path, rate_hz=250, unit="uV", leads=["I"])
        assert recording.signal.size
    except ReadError as error:
        assert "\n" not in str(error), str(error)
    assert time.process_time() - began < LIMIT_S, "too slow"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mb < LIMIT_MB, "too much memory"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=Path)
    parser.add_argument("--seconds", type=int, default=300)
    options = parser.parse_args()
    corpus = Path(tempfile.mkdtemp(prefix="ecgprism-seeds-"))
    for number, path in enumerate(sorted(options.seeds.rglob("*"))):
        if path.is_file() and path.stat().st_size:
            (corpus / str(number)).write_bytes(path.read_bytes()[:LARGEST_SEED])
    arguments = [f"-max_total_time={options.seconds}", f"-max_len={LARGEST_SEED}", "-timeout=10", str(corpus)]
    atheris.Setup([sys.argv[0], *arguments], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
