"""Run as a program of its own, with the rights of the process that was followed: prints what memray wrote, as JSON.

`python -I memray_reading.py FILE peak|leaks python|native MOST`: a list of [bytes, thread, its name, [[function, file, line], ...]],
innermost frame first; the largest ones where there are too many.
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

    path, which, frames, most = arguments
    with FileReader(path) as reader:
        method = reader.get_leaked_allocation_records if which == "leaks" else reader.get_high_watermark_allocation_records
        sizes: Counter[tuple[Any, ...]] = Counter()
        for record in method(merge_threads=False):
            stack = record.hybrid_stack_trace() if frames == "native" else record.stack_trace()
            kept = tuple((name[:MOST_NAME], file[:MOST_NAME], line) for name, file, line in stack[:MOST_DEPTH])
            sizes[record.tid, (record.thread_name or "")[:MOST_NAME], kept] += record.size
        rows = [[size, *key] for key, size in nlargest(int(most), sizes.items(), key=lambda item: item[1])]
        left_out = sum(sizes.values()) - sum(row[0] for row in rows)
        if left_out:
            rows.append([left_out, 0, "", []])
    json.dump(rows, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
