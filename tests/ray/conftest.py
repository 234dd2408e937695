"""Helpers of the real-Ray suites say what they compared when they fail."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.ray.whole_picture", "tests.ray.timing", "tests.ray.killing", "tests.ray.onlookers")
