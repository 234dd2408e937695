"""How long to wait before what ended is started again: longer each time, until it has lived for a while."""

from __future__ import annotations

STEPS_S = (0.2, 0.4, 0.8, 1.6, 3.2, 5.0)
LIVED_LONG_S = 15.0
"""What ran for this long has not failed at its start: the count begins anew."""


def back_off_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return STEPS_S[min(failures, len(STEPS_S)) - 1] if failures else 0.0
