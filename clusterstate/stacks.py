"""Stacks that were seen in processes, with how often or how much: what a profile is made of. Each frame is kept once.

They come from nodes, where anybody's code runs, and names in them are a program's claim: everything is bounded and read by its types.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Container, Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

MOST_BYTES = 32 << 20
"""Of packed samples when they are unpacked."""
MOST_NAME = 500
"""Characters of a function, file or thread: more are cut by who reads a profiler's output."""
MOST_DEPTH = 1_000
MOST_FRAMES = 200_000
MOST_STACKS = 500_000
MOST_THREADS = 50_000
ROOM = 5_000
"""Left for what stands in the place of what is not kept: a thread of each process."""

SAMPLES, BYTES, ALLOCATIONS = "samples", "bytes", "allocations"

Name = Annotated[str, Meta(max_length=MOST_NAME)]
Count = Annotated[int, Meta(ge=0, le=1 << 53)]


class Unreadable(ValueError):
    """What came is no such thing; the message says why."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """A function where a stack was."""

    function: Name
    file: Name = ""  # as the program names it; empty: not known
    line: Annotated[int, Meta(ge=0, le=1 << 31)] = 0  # 0: not known


NO_PYTHON = Frame("(no Python code)")
"""Stands for what a thread did before it ran any, or outside of it."""
TRUNCATED = Frame("(more than is kept)")


class Thread(msgspec.Struct, frozen=True, array_like=True):
    """A thread of a process."""

    pid: Annotated[int, Meta(ge=0, le=1 << 31)]
    os_id: Annotated[int, Meta(ge=0, le=1 << 53)]  # as the system numbers it; 0: not known
    name: Name = ""
    process: Name = ""  # what its process is called among those of all hosts; empty: its pid alone is known


class Stack(msgspec.Struct, frozen=True, array_like=True):
    """A stack of a thread."""

    thread: Annotated[int, Meta(ge=0)]  # its place in `threads`
    frames: Annotated[tuple[int, ...], Meta(max_length=MOST_DEPTH)]  # places in `frames`, outermost first
    count: Count


class Samples(msgspec.Struct, frozen=True):
    """What a profiler counted."""

    unit: str = SAMPLES  # samples, bytes or allocations
    frames: Annotated[tuple[Frame, ...], Meta(max_length=MOST_FRAMES)] = ()
    threads: Annotated[tuple[Thread, ...], Meta(max_length=MOST_THREADS)] = ()
    stacks: Annotated[tuple[Stack, ...], Meta(max_length=MOST_STACKS)] = ()

    @property
    def total(self) -> int:
        return sum(stack.count for stack in self.stacks)

    def of_processes(self, pids: Container[int]) -> Samples:
        """Those of these processes alone."""
        kept = {place for place, thread in enumerate(self.threads) if thread.pid in pids}
        return msgspec.structs.replace(self, stacks=tuple(stack for stack in self.stacks if stack.thread in kept))


def pack(samples: Samples) -> bytes:
    """For the way and for keeping. Of what is too much for `unpack` the rarest stacks stand as one whose frames are not kept."""
    content = msgspec.json.encode(samples)
    while len(content) > MOST_BYTES:
        samples = _rarest_left_out(samples, len(samples.stacks) * MOST_BYTES * 9 // (len(content) * 10))
        content = msgspec.json.encode(samples)
    return zlib.compress(content, 6)


def _rarest_left_out(samples: Samples, kept: int) -> Samples:
    merging = Merging(samples.unit)
    for place, stack in enumerate(sorted(samples.stacks, key=lambda stack: stack.count, reverse=True)):
        frames = (samples.frames[number] for number in stack.frames) if place < kept else (TRUNCATED,)
        merging.add(samples.threads[stack.thread] if place < kept else Thread(samples.threads[stack.thread].pid, 0), frames, stack.count)
    return merging.samples()


def unpack(packed: bytes) -> Samples:
    """Raises Unreadable."""
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(packed, MOST_BYTES + 1)
        if len(content) > MOST_BYTES or not unpacking.eof:
            raise Unreadable(f"It is torn, or larger than {MOST_BYTES} bytes.")
        found = msgspec.json.decode(content, type=Samples)
    except (zlib.error, msgspec.DecodeError, UnicodeError) as error:
        raise Unreadable(str(error)[:200]) from None
    frames, threads = len(found.frames), len(found.threads)
    for stack in found.stacks:
        if stack.thread >= threads or any(not 0 <= place < frames for place in stack.frames):
            raise Unreadable("A stack names a frame or thread that is not there.")
    return found


class Merging:
    """Adds up samples of one unit, of one process or many. Every count is kept; of stacks, frames and threads no more than may travel."""

    def __init__(self, unit: str = SAMPLES) -> None:
        self._unit = unit
        self._frames: dict[Frame, int] = {}
        self._threads: dict[Thread, int] = {}
        self._counts: Counter[tuple[int, tuple[int, ...]]] = Counter()

    def add(self, thread: Thread, frames: Iterable[Frame], count: int) -> None:
        """A stack, outermost frame first."""
        self._add(self._thread(thread), tuple(map(self._frame, frames)), count)

    def add_samples(self, samples: Samples) -> None:
        """All of others."""
        frames = [self._frame(frame) for frame in samples.frames]
        threads = [self._thread(thread) for thread in samples.threads]
        for stack in samples.stacks:
            self._add(threads[stack.thread], tuple(frames[place] for place in stack.frames), stack.count)

    def _add(self, thread: int, places: tuple[int, ...], count: int) -> None:
        key = thread, places or (self._frame(NO_PYTHON),)
        if key not in self._counts and len(self._counts) >= MOST_STACKS - ROOM:
            key = thread, (self._frame(TRUNCATED),)
        if key not in self._counts and len(self._counts) >= MOST_STACKS:
            key = next(iter(self._counts))
        self._counts[key] += count

    def _frame(self, frame: Frame) -> int:
        if frame not in self._frames and len(self._frames) >= MOST_FRAMES - ROOM:
            frame = TRUNCATED
        return self._frames.setdefault(frame, len(self._frames))

    def _thread(self, thread: Thread) -> int:
        if thread not in self._threads and len(self._threads) >= MOST_THREADS - ROOM:
            thread = Thread(thread.pid, 0, process=thread.process)
        if thread not in self._threads and len(self._threads) >= MOST_THREADS:
            thread = next(iter(self._threads))
        return self._threads.setdefault(thread, len(self._threads))

    def samples(self) -> Samples:
        """The sum."""
        stacks = tuple(Stack(thread, frames, count) for (thread, frames), count in self._counts.items())
        return Samples(self._unit, tuple(self._frames), tuple(self._threads), stacks)
