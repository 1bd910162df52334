"""Records/s of `ecgprism ingest` against a plain wfdb.rdrecord loop over the same records.

python bench/ingest.py DATA/cinc2017 --source cinc2017 [--workers 2] [--runs 3]

The loop only reads (no resampling, no checks, nothing written): ingest does all of that and is still compared whole.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import wfdb

from ecgprism.corpus.ingestion import ingest
from ecgprism.sources.opening import open_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--source", default="cinc2017")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    paths = [entry.path for entry in open_source(options.source, options.root).entries()]
    ratios = []
    for run in range(options.runs):
        began = time.perf_counter()
        for path in paths:
            wfdb.rdrecord(path.removesuffix(".hea"))
        loop = len(paths) / (time.perf_counter() - began)
        folder = Path(tempfile.mkdtemp())
        began = time.perf_counter()
        ingest(options.source, options.root, folder / "corpus", workers=options.workers)
        ours = len(paths) / (time.perf_counter() - began)
        shutil.rmtree(folder)
        ratios.append(ours / loop)
        print(
            f"run {run + 1}: wfdb.rdrecord {loop:.0f} records/s, ingest {ours:.0f} records/s, ratio {ours / loop:.2f}"
        )
    print(f"median ratio over {len(paths)} records, {options.workers} processes: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
