"""Prints what NVML gives on this machine through Raydeck's own reader, as JSON. Exit code 1: no GPU could be read.

For a machine with a GPU: the tests use a stand-in for NVML, and this shows that the real one answers as they assume.
    python scripts/check_gpu.py [readings] [seconds between]
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from workers.sources.gpus import GpuReader
from workers.sources.gpus_decode import totals


def main(arguments: list[str]) -> int:
    count = int(arguments[0]) if arguments else 2
    pause_s = float(arguments[1]) if len(arguments) > 1 else 2.0
    reader = GpuReader()
    found = 0
    for number in range(count):
        started, cpu = time.perf_counter(), time.process_time()
        reading = reader.read(time.time())
        cost = {"wall_ms": round((time.perf_counter() - started) * 1000, 1), "cpu_ms": round((time.process_time() - cpu) * 1000, 1)}
        found = len(reading.gpus)
        print(json.dumps({"reading": number, **cost, "totals": totals(reading.gpus), **dataclasses.asdict(reading)}, indent=1))
        if number + 1 < count:
            time.sleep(pause_s)
    reader.close()
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
