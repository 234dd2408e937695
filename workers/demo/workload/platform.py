"""The driver that lasts: it holds what stays and submits the jobs. One process for both, to keep the demo small."""

from __future__ import annotations

import asyncio

from workers.demo.workload.joining import joined
from workers.demo.workload.residents import stay
from workers.demo.workload.submissions import submit_for_ever


async def both() -> None:
    """Until one of them fails; the keeper then starts the driver again."""
    await asyncio.gather(stay(), submit_for_ever())


if __name__ == "__main__":
    with joined("platform", purpose="actors, placement groups and job submissions"):
        asyncio.run(both())
