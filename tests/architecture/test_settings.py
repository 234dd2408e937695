"""Settings: one list, and the documentation that is made from it."""

from __future__ import annotations

import re
from pathlib import Path

import write_docs
from clusterstate import settings
from tests.architecture.repository import modules, read


def test_the_documented_settings_are_the_ones_of_the_code() -> None:
    assert read("docs/settings.md") == write_docs.settings_page(), "type: make docs"


def test_every_setting_has_a_variable_an_option_and_a_sentence() -> None:
    for variable, option, _default, sentence in settings.describe():
        assert re.fullmatch(r"RAYDECK_[A-Z_]+", variable)
        assert re.fullmatch(r"--[a-z-]+", option)
        assert sentence.endswith(".")


def test_no_other_module_reads_a_setting_from_the_environment() -> None:
    reading = re.compile(r"""(environ|getenv)[^\n]{0,20}["']RAYDECK_""")
    found = [
        str(path)
        for path in modules("clusterstate", "workers", "webapp")
        if path != Path("clusterstate/settings.py") and reading.search(read(path))
    ]
    assert not found
