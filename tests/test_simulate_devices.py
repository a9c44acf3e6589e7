"""Sweeps and giant problems on 8 virtual devices and on 2 joined processes, against one device."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulate.devices import Shares, configuration_mesh, join_hosts, shares_of
from simulate.least_squares import least_squares
from simulate.optimizers import sgd
from simulate.parallel import cores, run_all, threads_for
from simulate.problems import diagonal_quadratic, rotated_quadratic
from simulate.rendezvous import gather_hosts, meet_host, split_address
from simulate.sharded_modes import shard_modes
from simulate.sweep import sweep
from simulate.sweep_blocks import CPU_ELEMENTS, NOISY_ELEMENTS, SHARING_NOISE, Blocks, cut
from theory.problem import power_law

from .spread_runs import RUNS, STEPS, giant, giant_sweep, quadratic, rates, run
from .tolerances import SAME_MATHS

ROOT = Path(__file__).parents[1]
ON_EIGHT = ["gradient descent", "least squares, two blocks", "muon, two blocks"]
ON_HOSTS = ["gradient descent"]
GIANTS = ["momentum", "adam", "least squares"]


def start(devices, *arguments):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.spread_runs", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    for process in processes:
        try:
            said, _ = process.communicate(timeout=240)
        finally:
            process.kill()
        assert process.returncode == 0, said


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """What one process of eight virtual devices finds."""
    out = tmp_path_factory.mktemp("eight") / "found.npz"
    finish(start(8, out, *ON_EIGHT, "giant:momentum", "exchanges", "settings"))
    return np.load(out)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """What two joined processes of two virtual devices each find."""
    folder = tmp_path_factory.mktemp("hosts")
    address = f"127.0.0.1:{free_port()}"
    names = (*ON_HOSTS, "giant:momentum", "giant_sweep", "different", "joined_again")
    outs = [folder / f"{index}.npz" for index in range(2)]
    finish(*(start(2, "--join", address, 2, i, out, *names) for i, out in enumerate(outs)))
    return [np.load(out) for out in outs]


def same_bits(found, name):
    """Every array of a run has the bits of the same run on the one device here."""
    here = run(name)
    expected = jax.tree.leaves((here.loss, here.diverged_at, here.observed))
    assert expected
    for number, leaf in enumerate(expected):
        assert leaf.dtype == found[f"{name}/{number}"].dtype
        np.testing.assert_array_equal(found[f"{name}/{number}"], leaf)
    # A run that stands still would have the same bits anywhere.
    assert len(np.unique(np.asarray(here.loss))) > here.loss.size / 2


@pytest.mark.parametrize("name", ON_EIGHT)
def test_a_sweep_on_eight_devices_has_the_bits_of_one(eight, name):
    assert eight["devices"] == 8
    same_bits(eight, name)


@pytest.mark.parametrize("name", ON_HOSTS)
def test_both_of_two_processes_get_the_whole_sweep_with_the_bits_of_one_device(hosts, name):
    for found in hosts:
        assert found["devices"] == 4
        same_bits(found, name)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [3, 8])
def test_all_runs_on_three_and_on_eight_devices_are_those_on_one(tmp_path, devices):
    giants = [f"giant:{name}" for name in GIANTS]
    finish(start(devices, tmp_path / "found.npz", *RUNS, *giants))
    found = np.load(tmp_path / "found.npz")
    for name in RUNS:
        same_bits(found, name)
    for name in GIANTS:
        same_maths(found, name)


def same_maths(found, name):
    """A giant problem gave what it gives on the one device here."""
    expected = giant(name, False)
    np.testing.assert_allclose(found[f"giant:{name}/0"], expected.loss, rtol=SAME_MATHS)
    assert found[f"giant:{name}/1"] == expected.diverged_at


def test_a_problem_with_spread_modes_runs_as_on_one_device(eight, hosts):
    for found in (eight, *hosts):
        same_maths(found, "momentum")


def test_a_sweep_of_a_problem_with_spread_modes_is_that_on_one_device(hosts):
    for found in hosts:
        np.testing.assert_allclose(found["giant_sweep/0"], giant_sweep(False), rtol=SAME_MATHS)


def test_devices_of_a_giant_problem_exchange_one_number_a_loss(eight):
    found = {str(value) for name, value in eight.items() if name.startswith("exchanges")}
    assert found == {"f64[] all-reduce"}


def test_a_sweep_goes_where_it_is_told(eight):
    np.testing.assert_array_equal(eight["settings/0"], [True, True])
    expected = sweep(quadratic(), sgd, STEPS, rates(29)).loss
    np.testing.assert_array_equal(eight["settings/1"], expected)


def test_a_sweep_that_differs_between_hosts_is_refused(hosts):
    for found in hosts:
        assert "hosts [1] differ from host 0" in str(found["different/0"])
        assert "already joined" in str(found["joined_again/0"])


@pytest.mark.parametrize("configurations", [1, 2, 31, 33, 100, 1024])
@pytest.mark.parametrize("seeds", [1, 3, 8])
@pytest.mark.parametrize("size", [1, 300, 2**17])
@pytest.mark.parametrize("noisy", [False, True])
def test_blocks_hold_every_run_once_and_put_it_back(configurations, seeds, size, noisy):
    law = power_law(1.5, 1.8, size)
    problem = least_squares(law, 2) if noisy else diagonal_quadratic(law)
    blocks = cut(problem, configurations, seeds, "cpu")
    rows, columns = blocks.indices()
    assert rows.shape == (blocks.count, blocks.rows)
    assert columns.shape == (blocks.count, blocks.columns)
    results = rows[:, :, None] * seeds + columns[:, None, :]
    expected = np.arange(configurations * seeds).reshape(configurations, seeds)
    np.testing.assert_array_equal(blocks.whole(results), expected)
    # Repeats of the last configuration are fewer than a row a block.
    assert rows.size * blocks.columns < configurations * seeds + blocks.count * blocks.columns
    lanes = blocks.rows * blocks.columns
    assert lanes * size <= (NOISY_ELEMENTS if noisy else CPU_ELEMENTS) or lanes <= (
        SHARING_NOISE * (seeds if seeds == 3 else 2) if noisy else 1
    )


def test_blocks_of_runs_that_share_noise_stay_wide():
    noisy = least_squares(power_law(1.5, 1.8, 2**17), 2)
    assert cut(noisy, 64, 4, "cpu") == Blocks(64, 4, rows=32, columns=2)
    quiet = diagonal_quadratic(power_law(1.5, 1.8, 2**17))
    assert cut(quiet, 64, 4, "cpu") == Blocks(64, 4, rows=1, columns=1)
    assert cut(quiet, 64, 4, "gpu") == Blocks(64, 4, rows=16, columns=1)


@pytest.mark.parametrize("blocks", [1, 5, 8, 9])
def test_one_device_takes_all_blocks(blocks):
    (device,) = jax.devices()
    assert shares_of(blocks, configuration_mesh()) == Shares({device: range(blocks)})


def test_factorisations_on_a_cpu_run_alone():
    plain = jax.jit(lambda x: x @ x).trace(jnp.eye(3))
    wrapped = jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda _, y: jnp.linalg.eigh(y)[1], x))
    waiting = wrapped.trace(jnp.eye(3))
    assert threads_for(plain, [None], "cpu") == cores()
    assert threads_for(plain, [0, 1], "cpu") == 1
    assert threads_for(waiting, [None], "cpu") == threads_for(waiting, [0, 1], "cpu") == 0
    assert threads_for(plain, [0], "gpu") == threads_for(waiting, [0, 1], "gpu") == 1


def test_calls_of_all_devices_run_and_a_failing_one_speaks():
    calls = {number: (number % 3, lambda number=number: 2 * number) for number in range(7)}
    for threads in (0, 1, 4):
        assert run_all(calls, threads) == {number: 2 * number for number in range(7)}

    def fail():
        raise ArithmeticError("no")

    with pytest.raises(ArithmeticError, match="no"):
        run_all(calls | {7: (0, fail)}, 1)


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":80", "host:0", "host:65536", "host:8o", "::1:80", "a b:80"]
)
def test_malformed_addresses_are_refused(address):
    with pytest.raises(ValueError, match="coordinator"):
        join_hosts(address, 2, 0)


def test_addresses():
    assert split_address("node-3.cluster:8476") == ("node-3.cluster", 8476)
    assert split_address("[::1]:1") == ("::1", 1)


@pytest.mark.parametrize(
    ("processes", "index", "named"),
    [
        (0, 0, "processes"),
        (2.5, 0, "processes"),
        (2, 2, "index"),
        (2, -1, "index"),
        (2, 0.5, "index"),
    ],
)
def test_bad_places_among_hosts_are_refused(processes, index, named):
    with pytest.raises(ValueError, match=named):
        join_hosts("127.0.0.1:8476", processes, index)


def test_half_stated_hosts_and_bad_timeouts_are_refused():
    with pytest.raises(ValueError, match="together"):
        join_hosts("127.0.0.1:8476", 2)
    with pytest.raises(ValueError, match="timeout"):
        join_hosts("127.0.0.1:8476", 2, 1, timeout=0.0)


def test_an_unreachable_coordinator_is_named():
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(TimeoutError, match=f"reached at {address} within 0.3 s"):
        join_hosts(address, 2, 1, timeout=0.3)


def test_missing_hosts_are_named_to_all():
    port, said = free_port(), []

    def guest():
        try:
            meet_host("127.0.0.1", port, 4, 2, 20.0)
        except ConnectionError as error:
            said.append(str(error))

    thread = threading.Thread(target=guest)
    thread.start()
    with pytest.raises(TimeoutError, match=r"hosts \[1, 3\] did not join"):
        gather_hosts("127.0.0.1", port, 4, 1.0)
    thread.join()
    assert len(said) == 1
    assert "hosts [1, 3] did not join" in said[0]


def test_a_coordinator_whose_port_is_taken_says_so():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConnectionError, match=f"cannot listen on 127.0.0.1:{port}"):
            join_hosts(f"127.0.0.1:{port}", 2, 0, timeout=5.0)


def test_hosts_that_do_not_fit_are_sent_away_and_the_others_meet():
    port = free_port()
    host = threading.Thread(target=gather_hosts, args=("127.0.0.1", port, 3, 20.0))
    host.start()
    first = threading.Thread(target=meet_host, args=("127.0.0.1", port, 3, 1, 20.0))
    first.start()
    with pytest.raises(ConnectionError, match="expects 3 processes, host 1 says 4"):
        meet_host("127.0.0.1", port, 4, 1, 20.0)
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stranger.recv(100) == b""
    first.join(0.5)
    with pytest.raises(ConnectionError, match="`index` 1 has already joined"):
        meet_host("127.0.0.1", port, 3, 1, 20.0)
    meet_host("127.0.0.1", port, 3, 2, 20.0)
    first.join(5.0)
    host.join(5.0)
    assert not first.is_alive()
    assert not host.is_alive()


def test_problems_that_cannot_be_spread_are_refused():
    rotated = rotated_quadratic(power_law(1.5, 1.8, 8), jax.random.key(0))
    with pytest.raises(TypeError, match="RotatedQuadratic"):
        shard_modes(rotated)  # pyright: ignore[reportArgumentType]
    problem = diagonal_quadratic(power_law(1.5, 1.8, 8))
    flat = jax.sharding.Mesh(np.array(jax.devices()).reshape(1, 1), ("rows", "columns"))
    with pytest.raises(ValueError, match="one axis"):
        shard_modes(problem, flat)
    with pytest.raises(ValueError, match="one axis"):
        sweep(problem, sgd, STEPS, rates(2), mesh=flat)
    with pytest.raises(ValueError, match="at least one device"):
        configuration_mesh([])
