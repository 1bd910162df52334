"""Workers: results in order, and no task that hangs, fills the memory or crashes holds up or ends the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from ecgprism.processes import Failure, Limits, in_order, limited, start_worker

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits and states of processes are those of Linux")


def square(i: int) -> int:
    return i * i


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 16, 17, 333])
def test_results_come_in_the_order_of_their_tasks(n: int, workers: int) -> None:
    assert list(in_order(square, range(n), workers)) == [i * i for i in range(n)]
    assert not multiprocessing.active_children()


def test_tasks_are_taken_only_a_little_ahead_of_the_results() -> None:
    taken = []
    tasks = (taken.append(i) or i for i in range(10_000))
    results = in_order(square, tasks, 2)
    assert [next(results) for _ in range(10)] == [i * i for i in range(10)]
    assert len(taken) < 300
    results.close()
    assert not multiprocessing.active_children()


def faulty(i: int) -> object:
    """Fail in each way that a reader has."""
    match i:
        case 3:
            raise ValueError("two\nlines")
        case 5:
            os._exit(7)
        case 7:
            os.kill(os.getpid(), signal.SIGKILL)
        case 11:
            time.sleep(60)
        case 13:
            return len(bytearray(2**30))
        case 15:
            return lambda: None  # cannot be sent
        case 17:
            raise KeyError
    return i


@linux
@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_fails_costs_itself_alone(workers: int) -> None:
    began = time.monotonic()
    results = list(in_order(faulty, range(60), workers, Limits(time_s=1.0, memory_mb=256)))
    failed = {i: result.reason for i, result in enumerate(results) if isinstance(result, Failure)}
    assert [result for result in results if not isinstance(result, Failure)] == [
        i for i in range(60) if i not in failed
    ]
    assert failed.pop(15).startswith(("AttributeError: Can't pickle", "PicklingError: Can't pickle"))
    assert failed == {
        3: "ValueError: two lines",
        5: "ends the process that reads it (exit status 7)",
        7: "ends the process that reads it (killed by SIGKILL)",
        11: "not read within 1 s",
        13: "MemoryError",
        17: "KeyError",
    }
    assert time.monotonic() - began < 20


def slow(i: int) -> int:
    time.sleep(0.01)
    return i


@linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_or_stopped_costs_no_task(how: signal.Signals, workers: int) -> None:
    results = []
    for result in in_order(slow, range(120), workers, Limits(time_s=1.0)):
        results.append(result)
        if len(results) in (20, 70):
            child = multiprocessing.active_children()[0]
            assert child.pid is not None
            os.kill(child.pid, how)
    assert results == list(range(120))


def large(i: int) -> bytes:
    return bytes([i]) * 3_000_000


def test_results_and_tasks_larger_than_any_buffer_are_passed_on() -> None:
    assert [len(result) for result in in_order(large, range(20), 2) if isinstance(result, bytes)] == [3_000_000] * 20
    tasks = [bytes([i]) * 500_000 for i in range(40)]
    assert list(in_order(len, tasks, 2)) == [500_000] * 40


FOLLOWS = """
    import multiprocessing, os, sys, time
    from ecgprism.processes import in_order, start_worker

    def wait(how):
        print(os.getpid(), flush=True)
        time.sleep(60)

    def plain(parent):
        start_worker(parent, 0.05)
        wait(0)

    if sys.argv[1] == "in_order":
        list(in_order(wait, range(2), 2))
    else:
        process = multiprocessing.get_context("fork").Process(target=plain, args=(os.getpid(),))
        process.start()
        process.join()
"""


@linux
@pytest.mark.parametrize("how", ["in_order", "start_worker"])
def test_workers_end_with_their_parent_however_it_ends(how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FOLLOWS), how],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        began = time.monotonic()
        while alive(child):
            assert time.monotonic() - began < 5
            time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_leaves_ctrl_c_to_its_parent() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        start_worker(os.getppid(), 60)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_limited_block_in_a_limited_block_ends_with_that() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError), limited(Limits(0.2)):
        with limited(Limits(60)):
            pass
        time.sleep(5)
    with pytest.raises(TimeoutError), limited(Limits(0.2)), limited(Limits(60)):
        time.sleep(5)
    assert time.monotonic() - began < 3
    with limited(Limits(60)), pytest.raises(TimeoutError), limited(Limits(0.1)):
        time.sleep(5)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
