"""The config of a command line.

`--config FILE [--config.key=value ...]`, its mistakes told by key, file and line. A config file is a program, so
anything can go wrong in it; a misspelled key must never go unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from mxjax.config import default_config
from mxjax.config_files import config_file, prompt_file
from mxjax.errors import UserError, message_of, place_of
from mxjax.keys import FREE, RANGES, unknown_key


def command_config(verb: str, argv: Sequence[str]) -> tuple[ConfigDict, flags.FlagValues]:
    """The config of `train`, `sft` or `plan`, and all flag values.

    Raises UserError for any mistake.
    """
    file, argv = _with_config_file(verb, argv)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=["mxjax", *argv])
    if verb == "plan":
        flags.DEFINE_string("topology", "", "the slice", flag_values=values)
        flags.DEFINE_bool("cpu", False, "simulated devices in place of the TPU's compiler", flag_values=values)
    else:
        flags.DEFINE_string("workdir", "", "where the run lives", flag_values=values)
        flags.DEFINE_bool("quiet", False, "no progress bars", flag_values=values)
    settings = dict(_settings(argv))
    for name in settings:
        group, free = f"{name}.", tuple(f"{key}." for key in FREE)
        if name not in RANGES and not name.startswith(free) and not any(key.startswith(group) for key in RANGES):
            raise UserError(unknown_key(name))
    off = [name for name, text in settings.items() if text == "None" and RANGES.get(name) and RANGES[name].holds(None)]
    kept = [argument for argument in argv if not any(argument == f"--config.{name}=None" for name in off)]
    try:
        unparsed = values(["mxjax", *kept])[1:]
        config = values.config
    except Exception as error:
        raise UserError(f"cannot read the configuration: {_fault(error, settings)}") from error
    if not isinstance(config, ConfigDict) or set(config) != set(default_config()):
        raise UserError(f"the get_config() of {file} must start from mxjax.config.default_config()")
    if unparsed:
        raise UserError(f"does not know {unparsed[0]!r}; settings are written --config.key=value")
    for name in off:
        group, _, key = name.rpartition(".")
        config[group][key] = None
    for role in config.roles.values() if isinstance(config.roles, ConfigDict) else ():
        if isinstance(role, ConfigDict) and isinstance(role.get("prompt"), str):
            role.prompt = prompt_file(role.prompt)
    if verb != "plan":
        config.workdir = values.workdir or config.workdir
        if not config.workdir:
            raise UserError("needs --workdir DIR, where the run lives")
    return config, values


def _with_config_file(verb: str, argv: Sequence[str]) -> tuple[str, list[str]]:
    """The path that `--config` names, and the command line with it."""
    argv = list(argv)
    at = next((i for i, argument in enumerate(argv) if argument.partition("=")[0] == "--config"), len(argv))
    file = (argv[at].partition("=")[2] if "=" in argv[at] else "".join(argv[at + 1 : at + 2])) if argv[at:] else ""
    if not file:
        example = "--topology v5e:2x2" if verb == "plan" else "--workdir runs/tiny"
        raise UserError(f"needs --config FILE, for example mxjax {verb} --config tiny {example}")
    file = config_file(file)
    argv[at : at + 1 if "=" in argv[at] else at + 2] = [f"--config={file}"]
    return file, argv


def _settings(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(dotted key, text of its value) of each `--config.key=value`.

    Returns "" for a value that is an argument of its own.
    """
    for argument in argv:
        if match := re.match(r"--?config\.([^=]+)(?:=(.*))?\Z", argument, re.DOTALL):
            yield match[1], match[2] or ""


def _fault(error: Exception, settings: dict[str, Any]) -> str:
    """What went wrong in a config file or flag, with its line."""
    text = str(error).replace("\\n", "\n").replace("\\'", "'")  # config_flags quotes the text of a KeyError
    if "Traceback" in text:  # of the file, which config_flags has caught
        lines = re.findall(r'File "([^"]+)", line (\d+), in (\S+)\n', text)
        of_file = [line for line in lines if "site-packages" not in line[0]]
        last = text.strip(" '\"\n").splitlines()[-1]
        return "{} ({}, line {}, in {})".format(last, *of_file[-1]) if of_file else last
    if isinstance(error, AttributeError) and (name := _not_in_the_file(str(error), settings)):
        group, _, key = name.rpartition(".")
        whole = f"--config.{group}=\"{{'{key}': ...}}\""
        return f"{name} is not in the config file, so no flag can change it; set it there, or all of {group} by {whole}"
    message = message_of(error)
    message = message[1:-1] if message[0] == message[-1] == "'" else message  # as a KeyError writes itself
    if isinstance(error, flags.Error):
        return message
    return f"{type(error).__name__}: {message} ({place_of(error)})"


def _not_in_the_file(message: str, settings: dict[str, Any]) -> str:
    """The `FREE` key that the message says is missing, or ""."""
    missing = message.strip("\"'")
    return next((name for name in settings if name.rpartition(".")[2] == missing and name not in RANGES), "")
