"""Output that nobody reads to the end: no complaint, and the exit code of other tools."""

import subprocess
import sys

import pytest

PROGRAM = "from experiments.cli import main; main()"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
@pytest.mark.parametrize(
    "command",
    [
        pytest.param("--help", marks=pytest.mark.slow),
        pytest.param("run norm_transfer --help", marks=pytest.mark.slow),
        "list",
        "curve sgd --size 100",
    ],
)
def test_a_closed_pipe_ends_a_command_quietly_with_141(tmp_path, command):
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert child.stdout is not None
    child.stdout.close()
    assert child.communicate()[1] == b""
    assert child.returncode == 141


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_failure_keeps_its_code_when_only_its_output_is_unread(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", "nothing"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert child.stdout is not None
    child.stdout.close()
    assert b"unknown study 'nothing'" in child.communicate()[1]
    assert child.returncode == 2
