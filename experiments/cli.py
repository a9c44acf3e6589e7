"""The command line: `quadlaw run | list | figures | validate | fit | derive | transfer | curve`."""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.arguments import HELP, check_names, parse, take_flag, take_value, unknown
from experiments.errors import UserError

USAGE = """\
quadlaw: scaling laws of optimizers, exactly, by simulation and from your own runs

  quadlaw run STUDY [--quick] [--force] [--FIELD VALUE ...]   compute a study, or show its record
  quadlaw list                                                studies, figures and claims there are
  quadlaw figures [NAME ...] [--quick] [--out DIR]            draw figures, compute what is missing
  quadlaw validate [NAME ...] [--quick]                       theory against simulation, row by row
  quadlaw fit FILE.csv --n N --d D --loss loss                a law for your own runs
  quadlaw derive BOUND --tune learning_rate,batch_size        hyperparameter laws from a bound
  quadlaw transfer tuned.toml --tokens 1e12                   tuned numbers at another budget
  quadlaw curve sgd --size 1e12 --steps 1e12                  an exact loss curve

Examples:
  quadlaw run decomposition --size 500 --batch-size 8         change fields; each choice is kept
  quadlaw figures chinchilla --quick                          one figure, from the small preset

`quadlaw COMMAND --help` and `quadlaw run STUDY --help` tell more. Everywhere: --debug (full
traceback). Records and the validation table go to ./results, or --results DIR, or
$QUADLAW_RESULTS. `quadlaw --version` prints the version.
"""

RUN_NOTE = """\
Also: --quick (start from the small preset), --force (compute again and replace the record),
--results DIR (default ./results or $QUADLAW_RESULTS), --dry-run (print chunks, estimated memory and
time, compute nothing), --memory 8GB (cut chunks so that the arrays of one fit),
--cluster local:4 | tcp://HOST:PORT | tls://HOST:PORT | slurm.toml (compute chunks on Dask workers;
--tls-ca-file, --tls-cert and --tls-key secure the connections)."""

# 128 + SIGPIPE: what a shell reports of other programs that write to a pipe nobody reads.
BROKEN_PIPE = 141


def main() -> None:
    """Entry point of the `quadlaw` script."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Runs one command; every expected failure is one line and an exit code.

    Args:
        arguments: what follows `quadlaw`.

    Returns:
        0 on success, 1 if a claim fails, 2 for a request that cannot be carried out, 130 on Ctrl-C,
        141 if nobody reads the output any more.
    """
    rest = [argument for argument in arguments if argument != "--debug"]
    try:
        try:
            return _dispatch(rest)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except SystemExit as leave:
        if isinstance(leave.__context__, BrokenPipeError):  # rich has discarded the output
            return BROKEN_PIPE
        raise
    except (UserError, ValueError, TypeError, OSError) as error:
        if len(rest) < len(arguments):
            traceback.print_exc()
        details = "".join(f"\n  {line}" for line in getattr(error, "details", ()))
        sys.stderr.write(f"quadlaw: {_describe(error)}{details}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("quadlaw: interrupted; what was saved before is whole.\n")
        return 130


def _discard_output() -> None:
    """What is left in the buffer would complain once more when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _describe(error: Exception) -> str:
    if isinstance(error, OSError):
        if error.errno == errno.ENOSPC:
            return "the disk is full; nothing already saved was changed."
        if error.filename is not None:
            return f"{error.filename}: {error.strerror}."
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _dispatch(arguments: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "run": _run,
        "list": _list,
        "figures": _figures,
        "validate": _validate,
        "fit": _fit,
        "derive": _derive,
        "transfer": _transfer,
        "curve": _curve,
    }
    if not arguments or arguments[0] in (*HELP, "help"):
        sys.stdout.write(USAGE)
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"quadlaw {version('quadlaw')}\n")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in commands:
        raise UserError(unknown("command", name, list(commands)))
    _enable_float64()
    return commands[name](rest)


def _enable_float64() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)


def _run(arguments: list[str]) -> int:
    from experiments.cluster import take_cluster
    from experiments.config import quick_config
    from experiments.dry_run import dry_run
    from experiments.memory import parse_memory
    from experiments.progress import progress_for
    from experiments.records import results_root
    from experiments.studies import STUDIES
    from experiments.study import run_study
    from experiments.sweeps import here
    from experiments.tables import plain_console, print_table

    if arguments and arguments[0] in HELP:
        sys.stdout.write(f"{USAGE}\nstudies: {', '.join(STUDIES)}\n")
        return 0
    if not arguments or arguments[0].startswith("-"):
        raise UserError(f"run needs the name of a study first; there are: {', '.join(STUDIES)}.")
    name = arguments.pop(0)
    check_names("study", [name], list(STUDIES))
    study = STUDIES[name]
    root = results_root(take_value(arguments, "--results"))
    quick, force = take_flag(arguments, "--quick"), take_flag(arguments, "--force")
    dry, budget = take_flag(arguments, "--dry-run"), take_value(arguments, "--memory")
    memory = None if budget is None else parse_memory(budget)
    cluster = take_cluster(arguments)
    default = quick_config(study.config) if quick else None
    config = parse(study.config, arguments, f"quadlaw run {name}", default, RUN_NOTE)
    console = plain_console()
    if dry:
        print_table(dry_run(study, config, root, force=force, memory=memory), console)
        if cluster is not None:
            console.print(
                f"--cluster: chunks would go to {cluster.place}; the time is for one process, and "
                "nothing was started",
                soft_wrap=True,
            )
        return 0
    progress = progress_for(plain_console(stderr=True))
    compute = here if cluster is None else cluster.computation()
    dataset, path, computed = run_study(
        study, config, root, progress, force=force, memory=memory, compute=compute
    )
    for table in study.summary(dataset):
        print_table(table, console)
    seconds = dataset.attrs["wall_time_seconds"]
    how = f"computed in {seconds:.1f} s" if computed else f"from its record ({seconds:.1f} s then)"
    console.print(f"{name}: {how}; {path}", soft_wrap=True)
    return 0


@dataclass(frozen=True)
class _ListOptions:
    """Studies with the number of their records, figures, and groups of claims."""

    results: str = ""
    """Folder of records; default: $QUADLAW_RESULTS or ./results."""


def _list(arguments: list[str]) -> int:
    from experiments.claims import CLAIMS
    from experiments.records import results_root
    from experiments.studies import STUDIES
    from experiments.tables import Table, plain_console, print_table
    from paper_figures.registry import FIGURES

    root = results_root(parse(_ListOptions, arguments, "quadlaw list").results)
    rows = tuple(
        (name, study.title, sum(path.is_dir() for path in (root / name).glob("[!.]*")))
        for name, study in STUDIES.items()
    )
    console = plain_console()
    print_table(Table("Studies", ("name", "question", "records"), rows), console)
    drawn = tuple((name, figure.title) for name, figure in FIGURES.items())
    print_table(Table("Figures", ("name", "shows"), drawn), console)
    console.print(f"claims of `quadlaw validate`: {', '.join(CLAIMS)}")
    return 0


@dataclass(frozen=True)
class _FigureOptions:
    """Draws figures as PDF and PNG, with the plotted numbers as CSV.

    Records that are missing are computed first. Example: quadlaw figures chinchilla --quick
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Which ones (see `quadlaw list`); all if none is named."""
    quick: bool = False
    """Use the small preset of every study."""
    out: Path = Path("paper_figures/output")
    """Folder for the files."""
    results: str = ""
    """Folder of records; default: $QUADLAW_RESULTS or ./results."""


def _figures(arguments: list[str]) -> int:
    from experiments.progress import progress_for
    from experiments.records import results_root
    from experiments.tables import plain_console
    from paper_figures.registry import FIGURES, draw_all

    options = parse(_FigureOptions, arguments, "quadlaw figures")
    check_names("figure", options.names, list(FIGURES))
    progress = progress_for(plain_console(stderr=True))
    names, root = options.names or tuple(FIGURES), results_root(options.results)
    console = plain_console()
    for path in draw_all(names, options.quick, options.out, root, progress):
        console.print(str(path), soft_wrap=True)
    return 0


@dataclass(frozen=True)
class _ValidateOptions:
    """Checks theory against independent computation: one row a claim, exit code 1 if one fails.

    Also writes the rows to validation.csv in the results folder.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Groups of claims (see `quadlaw list`); all if none is named."""
    quick: bool = False
    """Smaller sizes and fewer seeds."""
    results: str = ""
    """Folder of the table; default: $QUADLAW_RESULTS or ./results."""


def _validate(arguments: list[str]) -> int:
    from experiments.claims import CLAIMS
    from experiments.progress import progress_for
    from experiments.records import results_root
    from experiments.tables import plain_console, print_table
    from experiments.validation import save_verdicts, validate, verdict_table

    options = parse(_ValidateOptions, arguments, "quadlaw validate")
    check_names("group of claims", options.names, list(CLAIMS))
    progress = progress_for(plain_console(stderr=True))
    verdicts = validate(options.names, options.quick, progress)
    print_table(verdict_table(verdicts), plain_console())
    save_verdicts(verdicts, results_root(options.results) / "validation.csv")
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _fit(arguments: list[str]) -> int:
    from experiments.fit_runs import FitOptions, fit_command
    from experiments.tables import plain_console

    return fit_command(parse(FitOptions, arguments, "quadlaw fit"), plain_console())


def _curve(arguments: list[str]) -> int:
    from experiments.curve import CurveOptions, curve_command
    from experiments.tables import plain_console

    return curve_command(parse(CurveOptions, arguments, "quadlaw curve"), plain_console())


def _derive(arguments: list[str]) -> int:
    from experiments.derive import DeriveOptions, derive_command
    from experiments.tables import plain_console

    return derive_command(parse(DeriveOptions, arguments, "quadlaw derive"), plain_console())


def _transfer(arguments: list[str]) -> int:
    from experiments.tables import plain_console
    from experiments.transfer import TransferOptions, transfer_command

    return transfer_command(parse(TransferOptions, arguments, "quadlaw transfer"), plain_console())
