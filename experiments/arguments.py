"""Command-line arguments as frozen dataclasses through tyro; every mistake is one line."""

import contextlib
import dataclasses
import difflib
import inspect
import io
import typing
from collections.abc import Sequence
from typing import Any

import tyro

from experiments.errors import UserError

HELP = ("-h", "--help")


def unknown(kind: str, name: str, allowed: Sequence[str]) -> str:
    """The complaint about a name that does not exist, with the nearest one that does."""
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"unknown {kind} {name!r}; there are: {', '.join(allowed)}.{hint}"


def check_names(kind: str, names: Sequence[str], allowed: Sequence[str]) -> None:
    """Refuses a name that does not exist.

    Raises:
        UserError: naming it and the allowed ones.
    """
    for name in names:
        if name not in allowed:
            raise UserError(unknown(kind, name, allowed))


def take_value(arguments: list[str], name: str) -> str | None:
    """Removes `--name value` or `--name=value` and returns the value.

    Raises:
        UserError: if the value is missing.
    """
    for position, argument in enumerate(arguments):
        if argument == name:
            if position + 1 == len(arguments):
                raise UserError(f"{name} needs a value.")
            value = arguments[position + 1]
            del arguments[position : position + 2]
            return value
        if argument.startswith(name + "="):
            del arguments[position]
            return argument.split("=", 1)[1]
    return None


def take_flag(arguments: list[str], name: str) -> bool:
    """Removes every `--name` and returns whether there was one."""
    found = name in arguments
    while name in arguments:
        arguments.remove(name)
    return found


def parse(
    options: type, arguments: list[str], prog: str, default: Any = None, note: str = ""
) -> Any:
    """An instance of a dataclass from its command-line fields.

    Args:
        options: dataclass type; docstrings of the fields are the help.
        arguments: what follows `prog`.
        prog: the command so far, for help and complaints.
        default: instance whose values stand where a field is not given.
        note: appended to the description in the help.

    Returns:
        The instance.

    Raises:
        UserError: on an unknown field or a value of the wrong kind.
        SystemExit: with code 0 after printing help.
    """
    _check_fields(options, arguments, prog)
    keywords = {} if default is None else {"default": default}
    description = f"{inspect.getdoc(options)}\n\n{note}".strip()
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                options,
                args=arguments,
                prog=prog,
                description=description,
                config=(tyro.conf.FlagCreatePairsOff,),
                **keywords,
            )
    except SystemExit as leave:
        if leave.code in (0, None):
            raise
        raise UserError(_compact(complaint.getvalue(), prog)) from leave


def _check_fields(options: type, arguments: list[str], prog: str) -> None:
    allowed = _flags(options)
    for argument in arguments:
        flag = argument.split("=", 1)[0].replace("_", "-")
        if argument.startswith("--") and flag not in (*allowed, *HELP):
            raise UserError(f"{prog}: {unknown('field', flag, allowed)}")


def _flags(options: type, before: str = "--") -> list[str]:
    """Flags of the fields; those of a nested dataclass follow its name and a dot."""
    hints = typing.get_type_hints(options, include_extras=True)
    found = []
    for field in dataclasses.fields(options):
        flag, hint = before + field.name.replace("_", "-"), hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            found += _flags(hint, flag + ".")
        elif tyro.conf.Positional not in getattr(hint, "__metadata__", ()):
            found.append(flag)
    return found


def _compact(text: str, prog: str) -> str:
    """The sentence that matters in tyro's boxed complaint."""
    bare = "".join(c if c.isprintable() and not 0x2500 <= ord(c) < 0x2580 else " " for c in text)
    words = " ".join(bare.split())
    for ending in ("Argument helptext", "For full helptext"):
        words = words.split(ending)[0]
    for title in ("Parsing error", "Value error", "Invalid choice", "Required options"):
        words = words.removeprefix(title).strip()
    words = words.removeprefix("Error parsing").strip()
    return f"{words.rstrip('.')}. See `{prog} --help`."
