"""A profile as a file: py-spy's raw form, speedscope's, and the function table. Counts are those of the samples, names are text. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from clusterstate.stacks import BYTES, Frame, Samples
from webapp import exports
from webapp.flame.asking import AskedFlame
from webapp.flame.labels import have_several, label_of_process, process_name, thread_name
from webapp.flame.pictures import html, svg
from webapp.flame.table import functions, ordered
from webapp.flame.tree import BY_PROCESS, BY_THREAD, stacks_of

PIECE = 500
"""Stacks that are written at once."""
NO_FRAMES = "(no frames)"
SPEEDSCOPE = "https://www.speedscope.app/file-format-schema.json"
COLUMNS = ("function", "file", "line", "self", "total", "self_percent", "total_percent", "unit")


@dataclass(frozen=True)
class FileFormat:
    """A kind of file that a profile can be saved as."""

    label: str
    extension: str
    content_type: str
    write: Callable[[Samples, AskedFlame, str], Iterator[bytes]]  # what it is called: a text of ours or of the cluster


def collapsed(samples: Samples, asked: AskedFlame, title: str) -> Iterator[bytes]:
    """`frame;frame count`, one stack a line, as `py-spy record -f raw` has it; with threads if they stand apart on the page."""
    names: dict[str, int] = {}
    places = [names.setdefault(_frame_text(frame), len(names)) for frame in samples.frames]
    roots = [tuple(names.setdefault(one, len(names)) for one in root) for root in _roots(samples, asked.by)]
    counts: Counter[tuple[int, ...]] = Counter()
    for stack in stacks_of(samples, asked.thread):
        path = (*roots[stack.thread], *(places[place] for place in stack.frames))
        counts[path] += stack.count
    texts = list(names)
    stacks = iter(counts.items())
    while some := list(islice(stacks, PIECE)):
        lines = (f"{';'.join(texts[number] for number in path) or NO_FRAMES} {count}\n" for path, count in some)
        yield "".join(lines).encode("utf-8", "replace")


def speedscope(samples: Samples, asked: AskedFlame, title: str) -> Iterator[bytes]:
    """For the site and program of that name: a profile for each thread."""
    frames = [_speedscope_frame(frame) for frame in samples.frames]
    head = exports.as_json({"$schema": SPEEDSCOPE, "exporter": "raydeck", "name": title, "shared": {"frames": frames}})
    yield head[:-1] + b',"profiles":['
    by_thread: dict[int, list[tuple[tuple[int, ...], int]]] = {}
    for stack in stacks_of(samples, asked.thread):
        by_thread.setdefault(stack.thread, []).append((stack.frames, stack.count))
    comma = b""
    for place, stacks in by_thread.items():
        thread = samples.threads[place]
        about = {
            "type": "sampled",
            "name": exports.visible(f"{process_name(thread)} {thread_name(thread)}"),
            "unit": "bytes" if samples.unit == BYTES else "none",
            "startValue": 0,
            "endValue": sum(count for _, count in stacks),
            "samples": [frames for frames, _ in stacks],
            "weights": [count for _, count in stacks],
        }
        yield comma + exports.as_json(about)
        comma = b","
    yield b"]}"


def function_table(samples: Samples, asked: AskedFlame, title: str) -> Iterator[bytes]:
    """Every function with what ended in it and what went through it; spreadsheets find no formula in it."""
    tally = functions(samples, asked.thread, lines=asked.lines)
    whole = tally.total or 1
    rows = (
        {
            "function": exports.visible(row.label.name),
            "file": exports.visible(row.label.file),
            "line": row.label.line or None,
            "self": row.own,
            "total": row.total,
            "self_percent": round(100 * row.own / whole, 4),
            "total_percent": round(100 * row.total / whole, 4),
            "unit": samples.unit,
        }
        for row in ordered(tally.rows, "-own")
    )
    return exports.csv_pieces(COLUMNS, rows)


def _picture(samples: Samples, asked: AskedFlame, title: str) -> Iterator[bytes]:
    yield svg(samples, asked, title)


def _page(samples: Samples, asked: AskedFlame, title: str) -> Iterator[bytes]:
    yield html(samples, asked, title)


FORMATS = {
    "raw": FileFormat("Raw (collapsed stacks)", "txt", "text/plain; charset=utf-8", collapsed),
    "speedscope": FileFormat("speedscope", "speedscope.json", "application/json", speedscope),
    "svg": FileFormat("SVG picture", "svg", "image/svg+xml", _picture),
    "html": FileFormat("HTML page", "html", "text/html; charset=utf-8", _page),
    "csv": FileFormat("CSV of functions", "csv", exports.FORMATS["csv"], function_table),
}


def _frame_text(frame: Frame) -> str:
    name, file = _plain(frame.function), _plain(frame.file)
    if not file:
        return name or "?"
    return f"{name} ({file}:{frame.line})" if frame.line else f"{name} ({file})"


def _roots(samples: Samples, by: str) -> list[tuple[str, ...]]:
    if by == BY_THREAD:
        several = have_several(samples.threads)
        return [(*((_plain(label_of_process(thread).name),) if several else ()), _plain(thread_name(thread))) for thread in samples.threads]
    if by == BY_PROCESS:
        return [(_plain(label_of_process(thread).name),) for thread in samples.threads]
    return [()] * len(samples.threads)


def _plain(name: str) -> str:
    """Without what would part stacks or lines."""
    return exports.visible(name).replace(";", ":").strip()


def _speedscope_frame(frame: Frame) -> dict[str, object]:
    found: dict[str, object] = {"name": exports.visible(frame.function) or "?"}
    if frame.file:
        found["file"] = exports.visible(frame.file)
    if frame.line:
        found["line"] = frame.line
    return found
