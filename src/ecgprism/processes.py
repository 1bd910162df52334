"""Processes: workers that end with their parent, and work on tasks that may hang, fill the memory or crash."""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, TypeVar

from ecgprism.errors import one_line

T = TypeVar("T")
R = TypeVar("R")

RECORD_TIMEOUT_S, RECORD_MEMORY_MB = 60.0, 4096  # what reading one record may take
CHUNK = 16  # tasks that a worker is sent at a time
AHEAD = 32_768  # bytes that surely fit into a worker's socket while it works on something else
POLL_S = 0.2
GATHER_S, GATHER_BYTES = 0.02, 1 << 20  # results that a worker has no longer, and no more of, before it sends them
_LENGTH = struct.Struct("!Q")


def start_worker(parent_pid: int, poll_s: float = POLL_S) -> None:
    """Make this process a worker: Ctrl-C is its parent's to handle, and when its parent is gone it ends.

    Ctrl-C reaches the whole group; a parent that was killed tells nobody.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        while os.getppid() == parent_pid:
            time.sleep(poll_s)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def named(error: Exception) -> str:
    """Return what an exception says as one line that begins with its type."""
    kind, said = type(error).__name__, one_line(error)
    return kind if said == kind else f"{kind}: {said}"


@dataclass(frozen=True)
class Limits:
    """What one task may take: seconds, and MiB of memory beside what the worker began with (None: no limit)."""

    time_s: float | None = None
    memory_mb: int | None = None


@dataclass(frozen=True)
class Failure:
    """Stands for the result of a task that has none, and says why."""

    reason: str


def in_order(
    work: Callable[[T], R], tasks: Iterable[T], workers: int, limits: Limits = Limits()
) -> Generator[R | Failure]:
    """Yield `work(task)` of every task in their order, from processes of which none can hold up or end the others.

    A task that takes longer than allowed, or that ends its process twice, is a `Failure`, as is one whose `work`
    raises. A worker that somebody killed or stopped is replaced, and its task begun again.
    """
    crew = _Crew(work, iter(tasks), workers, limits)
    try:
        yield from crew.results()
    finally:
        crew.dismiss()


@dataclass(eq=False)
class _Worker(Generic[T]):
    """A process, its socket, and what it has been sent: `tasks` in order, of which it has not answered yet.

    `begun` is shared with the process: how many tasks it has begun in all. The last one is under way for `busy_s`.
    """

    process: BaseProcess
    socket: socket.socket
    begun: ctypes.c_uint64
    tasks: deque[tuple[int, T]] = field(default_factory=deque)
    incoming: bytearray = field(default_factory=bytearray)
    answered: int = 0
    seen_begun: int = 0
    busy_s: float = 0.0

    def wait(self, passed_s: float) -> None:
        """Note that so much time has passed."""
        if self.begun.value != self.seen_begun or not self.tasks:
            self.seen_begun, self.busy_s = self.begun.value, 0.0
        else:
            self.busy_s += passed_s

    def take_under_way(self) -> tuple[int, T]:
        """Take the task that was begun last off the others, which are done again: their results were not sent."""
        at = min(max(self.begun.value - self.answered - 1, 0), len(self.tasks) - 1)
        task = self.tasks[at]
        del self.tasks[at]
        return task


class _Crew(Generic[T, R]):
    """The workers, the tasks that wait for one, and the results that wait for their turn."""

    def __init__(self, work: Callable[[T], R], tasks: Iterator[T], workers: int, limits: Limits) -> None:
        self.work, self.tasks, self.size, self.limits = work, tasks, workers, limits
        self.context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self.selector = selectors.DefaultSelector()
        self.workers: list[_Worker[T]] = []
        self.waiting: deque[tuple[int, T]] = deque()
        self.done: dict[int, R | Failure] = {}
        self.ended: dict[int, int] = {}  # how often a task's worker ended under it
        self.taken = self.given = 0

    def results(self) -> Generator[R | Failure]:
        """Yield every result in its turn."""
        last = time.monotonic()
        while True:
            self._hand_out()
            while self.given in self.done:
                yield self.done.pop(self.given)
                self.given += 1
                if self.given % (CHUNK // 2) == 0:
                    self._hand_out()
            if self.given == self.taken:
                return
            ready = self.selector.select(POLL_S)
            now = time.monotonic()
            for worker in self.workers:  # no longer than that: this process may have been stopped, or its machine slept
                worker.wait(min(now - last, 2 * POLL_S))
            last = now
            for key, _ in ready:
                self._hear(key.data)
            for worker in list(self.workers):
                if self.limits.time_s is not None and worker.busy_s > self.limits.time_s:
                    self._overdue(worker)

    def _hand_out(self) -> None:
        """Send tasks to the workers that run out of them, hiring as long as there are tasks for more."""
        while True:
            if not self.waiting and self.taken - self.given < 4 * CHUNK * self.size:
                self.waiting.extend(enumerate(islice(self.tasks, CHUNK), self.taken))
                self.taken += len(self.waiting)
            free = next((worker for worker in self.workers if not worker.tasks), None)
            if not self.waiting:
                return
            if free is None and len(self.workers) < self.size:
                free = self._hire()
            free = free or next((worker for worker in self.workers if len(worker.tasks) <= CHUNK // 2), None)
            if free is None or not self._send(free):
                return

    def _send(self, worker: _Worker[T]) -> bool:
        """Send a worker what waits; nothing, if it is busy and so much that sending might block."""
        chunk = list(islice(self.waiting, CHUNK))
        data = bytes(ForkingPickler.dumps([task for _, task in chunk]))
        if worker.tasks and len(data) > AHEAD:
            return False
        for _ in chunk:
            self.waiting.popleft()
        worker.tasks.extend(chunk)
        with suppress(OSError):  # it has ended or stands still, as is found out in its turn
            worker.socket.settimeout(self.limits.time_s)
            worker.socket.sendall(_LENGTH.pack(len(data)) + data)
        worker.socket.setblocking(False)
        return True

    def _hear(self, worker: _Worker[T]) -> None:
        """Take what a worker says: results, or by the end of its socket that it has ended."""
        try:
            heard = worker.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if not heard:
            self._gone(worker)
            return
        worker.incoming += heard
        begin = 0
        while len(worker.incoming) >= begin + _LENGTH.size:
            end = begin + _LENGTH.size + _LENGTH.unpack_from(worker.incoming, begin)[0]
            if len(worker.incoming) < end:
                break
            index, _ = worker.tasks.popleft()
            worker.answered += 1
            self.done[index] = ForkingPickler.loads(bytes(worker.incoming[begin + _LENGTH.size : end]))
            self.ended.pop(index, None)
            begin = end
        del worker.incoming[:begin]

    def _gone(self, worker: _Worker[T]) -> None:
        """Let go of a worker that has ended; the task under way is begun again, once."""
        worker.process.join(1.0)
        if worker.tasks:
            task = worker.take_under_way()
            if self.ended.get(task[0], 0):
                self.done[task[0]] = Failure(f"ends the process that reads it ({_end_of(worker.process.exitcode)})")
            else:
                self._begin_again(worker, task)
        self._release(worker)

    def _overdue(self, worker: _Worker[T]) -> None:
        """Let go of a worker that takes too long; if it was stopped from outside, its task is begun again, once."""
        task = worker.take_under_way()
        if self.ended.get(task[0], 0) or not _stopped(worker.process.pid):
            self.done[task[0]] = Failure(f"not read within {self.limits.time_s:g} s")
        else:
            self._begin_again(worker, task)
        self._release(worker)

    def _begin_again(self, worker: _Worker[T], task: tuple[int, T]) -> None:
        self.ended[task[0]] = 1
        worker.tasks.appendleft(task)

    def _hire(self) -> _Worker[T]:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * AHEAD)
        begun = self.context.RawValue(ctypes.c_uint64, 0)
        process = self.context.Process(
            target=_serve, args=(theirs, self.work, os.getpid(), self.limits.memory_mb, begun), daemon=True
        )
        process.start()
        theirs.close()
        ours.setblocking(False)
        worker: _Worker[T] = _Worker(process, ours, begun)
        self.selector.register(ours, selectors.EVENT_READ, worker)
        self.workers.append(worker)
        return worker

    def _release(self, worker: _Worker[T]) -> None:
        """End a worker; what it was still to do waits for another."""
        self.workers.remove(worker)
        self.selector.unregister(worker.socket)
        worker.socket.close()
        worker.process.kill()  # a stopped one hears nothing else
        worker.process.join()
        worker.process.close()
        self.waiting = deque(sorted([*worker.tasks, *self.waiting], key=lambda task: task[0]))

    def dismiss(self) -> None:
        """End every worker."""
        for worker in list(self.workers):
            self._release(worker)
        self.selector.close()


def _serve(
    ours: socket.socket,
    work: Callable[[Any], Any],
    parent_pid: int,
    memory_mb: int | None,
    begun: ctypes.c_uint64,
) -> None:
    """Do what is sent until the socket ends; runs in a worker process. Results are sent some at a time."""
    start_worker(parent_pid)
    _end_with_parent()
    _limit_memory(memory_mb)
    with suppress(OSError), ours.makefile("rb") as received:
        while head := received.read(_LENGTH.size):
            gathered, since = bytearray(), time.monotonic()
            for task in ForkingPickler.loads(received.read(_LENGTH.unpack(head)[0])):
                begun.value += 1
                try:
                    data = bytes(ForkingPickler.dumps(work(task)))
                except Exception as error:  # whatever it is, it is told as this task's result and ends no other
                    data = bytes(ForkingPickler.dumps(Failure(named(error))))
                gathered += _LENGTH.pack(len(data)) + data
                if len(gathered) > GATHER_BYTES or time.monotonic() - since > GATHER_S:
                    ours.sendall(gathered)
                    gathered, since = bytearray(), time.monotonic()
            ours.sendall(gathered)


def _end_with_parent() -> None:
    """Have the system end this process with its parent, at once and even when it is stopped, where it can."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Bound what a block may take in this process: TimeoutError, or MemoryError, where it takes more.

    The time is kept in the main thread, where the system has timers; code in C is stopped when it returns.
    """
    timed = limits.time_s is not None and hasattr(signal, "setitimer")
    timed = timed and threading.current_thread() is threading.main_thread()
    before_bytes = _limit_memory(limits.memory_mb)
    began, outer_s = time.monotonic(), 0.0  # a block in a limited block ends with that at the latest
    if timed:

        def over(number: int, frame: object) -> None:
            raise TimeoutError(f"not read within {limits.time_s:g} s")

        before = signal.signal(signal.SIGALRM, over)
        outer_s = signal.getitimer(signal.ITIMER_REAL)[0]
        signal.setitimer(signal.ITIMER_REAL, min(limits.time_s or 0.0, outer_s or math.inf))
    try:
        yield
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
            if outer_s:
                signal.setitimer(signal.ITIMER_REAL, max(outer_s - (time.monotonic() - began), 1e-3))
        if before_bytes is not None:
            import resource  # noqa: PLC0415

            resource.setrlimit(resource.RLIMIT_DATA, before_bytes)


def _limit_memory(memory_mb: int | None) -> tuple[int, int] | None:
    """Make allocations fail beyond so much more than the process holds now, where the system can do that.

    Returns the limit that was there before, None where nothing was done.
    """
    if memory_mb is None or sys.platform != "linux":
        return None
    import resource  # noqa: PLC0415  (there is none on Windows)

    with open("/proc/self/statm", "rb") as pages:  # noqa: PTH123  (asked for every file that is read)
        held_bytes = int(pages.read().split()[5]) * resource.getpagesize()  # data and stack
    most = held_bytes + memory_mb * 2**20
    before = resource.getrlimit(resource.RLIMIT_DATA)
    hard = before[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
    return before


def _stopped(pid: int | None) -> bool:
    """Whether somebody stopped a child of this process."""
    if pid is None or not hasattr(os, "waitid"):
        return False
    with suppress(ChildProcessError):
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    return False


def _end_of(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-exitcode).name}"
    return f"exit status {exitcode}"
