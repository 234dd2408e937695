"""Every setting as a command-line option, made from the one list of settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import click

from clusterstate.settings import BadSetting, Settings, describe, read_settings
from webapp.commands.state import WrongConfiguration

Function = TypeVar("Function", bound=Callable[..., Any])
METAVARS = {"int": "NUMBER", "float": "NUMBER", "Path": "FOLDER", "str": "TEXT"}


def settings_options(function: Function) -> Function:
    """Adds an option for each setting; what was not given is None. Values are checked by `settings_from` alone."""
    decorated = function
    for field, (name, option, default, help_text) in reversed(list(zip(fields(Settings), describe(), strict=True))):
        kind = str(field.type)
        shown = f"{help_text} [{name}{'' if default in {'', '0'} else f'; default {default}'}]"
        if kind == "bool":
            decorated = click.option(f"{option}/--no-{option[2:]}", field.name, default=None, help=shown)(decorated)
        else:
            metavar = METAVARS.get(kind, "LIST")
            decorated = click.option(option, field.name, default=None, metavar=metavar, help=shown)(decorated)
    return decorated


def settings_from(given: dict[str, Any]) -> Settings:
    """Settings from the environment and these options. A wrong one stops the command with exit code 78."""
    try:
        return read_settings(**{field.name: given.pop(field.name) for field in fields(Settings)})
    except BadSetting as error:
        raise WrongConfiguration(str(error)) from error
