"""Run as a program of its own, with the rights of the process that was followed: prints what memray wrote, as JSON.

`python -I memray_reading.py FILE peak|leaks python|native MOST_STACKS MOST_BYTES`:
{"frames": [[function, file, line], ...], "rows": [[bytes, thread, its name, [places in frames, innermost first]], ...], "left_out": bytes},
the largest rows first, as many as fit.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from heapq import nlargest
from typing import Any

MOST_DEPTH = 1_000
MOST_NAME = 500


def main(arguments: list[str]) -> int:
    from memray import FileReader

    path, which, frames, most_stacks, most_bytes = arguments
    with FileReader(path) as reader:
        method = reader.get_leaked_allocation_records if which == "leaks" else reader.get_high_watermark_allocation_records
        sizes: Counter[tuple[Any, ...]] = Counter()
        for record in method(merge_threads=False):
            stack = record.hybrid_stack_trace() if frames == "native" else record.stack_trace()
            kept = tuple((name[:MOST_NAME], file[:MOST_NAME], line) for name, file, line in stack[:MOST_DEPTH])
            sizes[record.tid, (record.thread_name or "")[:MOST_NAME], kept] += record.size
    json.dump(packed(sizes, int(most_stacks), int(most_bytes)), sys.stdout)
    return 0


def packed(sizes: Counter[tuple[Any, ...]], most_stacks: int, most_bytes: int) -> dict[str, Any]:
    """Each frame once, and of the rows as many as fit."""
    places: dict[tuple[str, str, int], int] = {}
    rows: list[list[Any]] = []
    left = most_bytes
    for (thread, name, stack), size in nlargest(most_stacks, sizes.items(), key=lambda item: item[1]):
        left -= sum(len(json.dumps(frame)) + 2 for frame in stack if frame not in places) + 9 * len(stack) + len(json.dumps(name)) + 60
        if left < 0:
            break
        rows.append([size, thread, name, [places.setdefault(frame, len(places)) for frame in stack]])
    return {"frames": list(places), "rows": rows, "left_out": sum(sizes.values()) - sum(row[0] for row in rows)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
