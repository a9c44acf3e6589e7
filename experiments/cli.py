"""The command line: `quadlaw run | list | figures | validate | fit | curve`."""

import difflib
import errno
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.errors import UserError

USAGE = """\
quadlaw: scaling laws of optimizers, exactly, by simulation and from your own runs

  quadlaw run STUDY [--quick] [--force] [--FIELD VALUE ...]   compute a study, or show its record
  quadlaw list                                                studies, figures and claims there are
  quadlaw figures [NAME ...] [--quick] [--out DIR]            draw figures, compute what is missing
  quadlaw validate [NAME ...] [--quick]                       theory against simulation, row by row
  quadlaw fit FILE.csv --n N --d D --loss loss                a law for your own runs
  quadlaw curve sgd --size 1e12 --steps 1e12                  an exact loss curve

`quadlaw COMMAND --help` tells more. Everywhere: --results DIR (default ./results or
$QUADLAW_RESULTS), --debug (full traceback), --version.
"""


def main() -> None:
    """Entry point of the `quadlaw` script."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Runs one command; every expected failure is one line and an exit code.

    Args:
        arguments: what follows `quadlaw`.

    Returns:
        0 on success, 1 if a claim fails, 2 for a request that cannot be carried out, 130 on Ctrl-C.
    """
    rest = [argument for argument in arguments if argument != "--debug"]
    debug = len(rest) < len(arguments)
    try:
        return _dispatch(rest)
    except (UserError, ValueError, TypeError, FileNotFoundError, OSError) as error:
        if debug:
            traceback.print_exc()
        return _complain(_describe(error))
    except KeyboardInterrupt:
        sys.stderr.write("quadlaw: interrupted; what was saved before is whole.\n")
        return 130


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full; nothing already saved was changed."
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _complain(message: str) -> int:
    sys.stderr.write(f"quadlaw: {message}\n")
    return 2


def _dispatch(arguments: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "run": _run,
        "list": _list,
        "figures": _figures,
        "validate": _validate,
        "fit": _fit,
        "curve": _curve,
    }
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        sys.stdout.write(USAGE)
        return 0
    if arguments[0] == "--version":
        from experiments.records import _version

        sys.stdout.write(f"quadlaw {_version('quadlaw')}\n")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in commands:
        raise UserError(_unknown("command", name, list(commands)))
    _enable_float64()
    return commands[name](rest)


def _enable_float64() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)


def _unknown(kind: str, name: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"unknown {kind} {name!r}; there are: {', '.join(allowed)}.{hint}"


def _take_value(arguments: list[str], name: str) -> str | None:
    """Removes `--name value` or `--name=value` and returns the value."""
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


def _take_flag(arguments: list[str], name: str) -> bool:
    found = name in arguments
    while name in arguments:
        arguments.remove(name)
    return found


def _parse(options: Any, arguments: list[str], prog: str, default: Any = None) -> Any:
    """Parses dataclass options with tyro; a mistake is one line."""
    import contextlib
    import io

    complaint = io.StringIO()
    keywords = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(options, args=arguments, prog=prog, **keywords)
    except SystemExit as leave:
        if leave.code in (0, None):
            raise
        raise UserError(_compact(complaint.getvalue(), prog)) from leave


def _compact(text: str, prog: str) -> str:
    """Tyro's boxed complaint as one line."""
    words = " ".join(
        "".join(c if c.isprintable() and ord(c) < 0x2500 else " " for c in text).split()
    )
    words = words.replace("Parsing error ", "", 1).replace("Unrecognized options ", "", 1)
    return f"{words.rstrip('.')}. See `{prog} --help`."


@dataclass(frozen=True)
class _Names:
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Which ones; all if none is named."""


def _run(arguments: list[str]) -> int:
    from experiments.config import quick_config
    from experiments.progress import progress_for
    from experiments.records import results_root
    from experiments.studies import STUDIES
    from experiments.study import run_study
    from experiments.tables import plain_console, print_table

    if not arguments or arguments[0].startswith("-"):
        raise UserError(f"run needs a study: {', '.join(STUDIES)}.")
    name = arguments.pop(0)
    if name not in STUDIES:
        raise UserError(_unknown("study", name, list(STUDIES)))
    study = STUDIES[name]
    root = results_root(_take_value(arguments, "--results"))
    quick, force = _take_flag(arguments, "--quick"), _take_flag(arguments, "--force")
    default = quick_config(study.config) if quick else None
    config = _parse(study.config, arguments, f"quadlaw run {name}", default)
    console = plain_console()
    progress = progress_for(plain_console(stderr=True))
    dataset, computed = run_study(study, config, root, progress, force=force)
    for table in study.summary(dataset):
        print_table(table, console)
    seconds = dataset.attrs["wall_time_seconds"]
    how = f"computed in {seconds:.1f} s" if computed else f"from its record ({seconds:.1f} s then)"
    console.print(f"{name}: {how}; {study.path(config, root)}")
    return 0


def _list(arguments: list[str]) -> int:
    from experiments.claims import CLAIMS
    from experiments.records import results_root
    from experiments.studies import STUDIES
    from experiments.tables import Table, plain_console, print_table
    from paper_figures.registry import FIGURES

    root = results_root(_take_value(arguments, "--results"))
    _parse(_Names, arguments, "quadlaw list")
    rows = tuple(
        (name, study.title, len([p for p in (root / name).glob("[!.]*") if p.is_dir()]))
        for name, study in STUDIES.items()
    )
    console = plain_console()
    print_table(Table("Studies", ("name", "question", "records"), rows), console)
    drawn = tuple((name, figure.title) for name, figure in FIGURES.items())
    print_table(Table("Figures", ("name", "shows"), drawn), console)
    console.print(f"claims of `quadlaw validate`: {', '.join(CLAIMS)}")
    return 0


def _figures(arguments: list[str]) -> int:
    from experiments.progress import progress_for
    from experiments.records import results_root
    from experiments.tables import plain_console
    from paper_figures.registry import FIGURES, draw_all

    root = results_root(_take_value(arguments, "--results"))
    out = Path(_take_value(arguments, "--out") or "paper_figures/output")
    quick = _take_flag(arguments, "--quick")
    names = _parse(_Names, arguments, "quadlaw figures").names
    for name in names:
        if name not in FIGURES:
            raise UserError(_unknown("figure", name, list(FIGURES)))
    console = plain_console()
    progress = progress_for(plain_console(stderr=True))
    for path in draw_all(names or tuple(FIGURES), quick, out, root, progress):
        console.print(str(path))
    return 0


def _validate(arguments: list[str]) -> int:
    from experiments.progress import progress_for
    from experiments.records import results_root
    from experiments.tables import plain_console, print_table
    from experiments.validation import save_verdicts, validate, verdict_table

    root = results_root(_take_value(arguments, "--results"))
    quick = _take_flag(arguments, "--quick")
    names = _parse(_Names, arguments, "quadlaw validate").names
    verdicts = validate(names, quick, progress_for(plain_console(stderr=True)))
    console = plain_console()
    print_table(verdict_table(verdicts), console)
    save_verdicts(verdicts, root / "validation.csv")
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _fit(arguments: list[str]) -> int:
    from experiments.fit_runs import FitOptions, fit_command
    from experiments.tables import plain_console

    return fit_command(_parse(FitOptions, arguments, "quadlaw fit"), plain_console())


def _curve(arguments: list[str]) -> int:
    from experiments.curve import CurveOptions, curve_command
    from experiments.tables import plain_console

    return curve_command(_parse(CurveOptions, arguments, "quadlaw curve"), plain_console())
