"""Sweeps on workers of Dask: the bits of one process, whatever dies, and refusals in one line."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import pytest

from experiments import cli, cluster, studies
from experiments.chunk_store import ChunkStore
from experiments.chunks import Chunk
from experiments.cluster import SchedulerAddress, Tls, parse_cluster
from experiments.cluster_shares import Shares
from experiments.cluster_slurm import read_slurm_jobs, slurm_cluster
from experiments.errors import UserError
from experiments.progress import Progress
from experiments.records import digest
from experiments.studies import exponents
from experiments.study import run_study
from experiments.sweeps import SweepError

from . import toy_sweep
from .presets import tiny_config
from .toy_study import Toy, ToyConfig
from .toy_sweep import STUDY, SweepConfig, Trouble

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

import dask.config  # noqa: E402
import psutil  # noqa: E402

from experiments import cluster_client, cluster_sweep, cluster_worker  # noqa: E402

CHECKOUT = Path(__file__).resolve().parent.parent
CONFIG = SweepConfig(count=6)
EXPECTED = digest(toy_sweep.compute(CONFIG, Progress()))


class Notes(Progress):
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trouble")
        patch.setenv("TOY_FOLDER", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _code_as_it_is_now():
    """Workers read the code when they start; a test run may have begun long before."""
    cluster_worker._code.cache_clear()


@pytest.fixture
def folder(shared_folder):
    """What happens to places, and the log of those computed."""
    for file in shared_folder.iterdir():
        file.unlink()
    Trouble.reset()
    return shared_folder


@pytest.fixture(scope="module")
def scheduler(shared_folder):
    """Somebody else's scheduler with two workers."""
    # One death and a chunk is suspected: each takes seconds to replace.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as started,
    ):
        yield started.scheduler_address


def run(root, where, progress=None, config=CONFIG, **options):
    compute = parse_cluster(where).computation()
    return run_study(STUDY, config, root, progress or Progress(), compute=compute, **options)


def computed(folder):
    """Places in the order in which they were begun."""
    return [int(line.split()[0]) for line in (folder / "log").read_text().splitlines()]


def processes(folder):
    return {int(line.split()[1]) for line in (folder / "log").read_text().splitlines()}


def hidden(root):
    return [path.name for path in Path(root).rglob(".*")]


@pytest.fixture
def kept(monkeypatch):
    """Names of the chunks in the order in which they are written, and by which process."""
    names, keep = [], ChunkStore.keep

    def spy(store, chunk, content):
        names.append(chunk.name)
        keep(store, chunk, content)

    monkeypatch.setattr(ChunkStore, "keep", spy)
    return names


def listening():
    me, heard = psutil.Process(), set()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker that was killed
            found = process.net_connections()
            heard |= {one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN}
    return heard


def test_workers_of_this_machine_give_the_bits_of_one_process_when_one_is_killed(
    tmp_path, folder, kept, monkeypatch
):
    (folder / "kill once 1").touch()
    heard, notes, write = set(), Notes(), ChunkStore.write

    def spy(store, name, content):
        heard.update(listening())
        write(store, name, content)

    monkeypatch.setattr(ChunkStore, "write", spy)
    dataset, path, _ = run(tmp_path, "local:2", notes)
    assert digest(dataset) == EXPECTED
    # Results that the killed worker still held are computed again too.
    begun = computed(folder)
    assert set(begun) == set(range(CONFIG.count))
    assert begun.count(1) == 2
    assert os.getpid() not in processes(folder)
    assert sorted(kept) == [chunk.name for chunk in toy_sweep.plan(CONFIG).chunks]
    assert heard == {"127.0.0.1"}
    assert [line for line in notes.lines if "is gone; others take up" in line]
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert not any(psutil.pid_exists(worker) for worker in processes(folder))


def test_a_scheduler_that_is_there_gives_the_bits_of_one_process(tmp_path, folder, scheduler, kept):
    dataset, _, new = run(tmp_path, scheduler)
    assert new
    assert digest(dataset) == EXPECTED
    assert len(kept) == len(set(kept)) == CONFIG.count
    assert not run(tmp_path, scheduler)[2]
    assert len(computed(folder)) == CONFIG.count


def test_a_chunk_that_raises_is_recorded_and_the_rest_go_on(tmp_path, folder, scheduler):
    (folder / "raise 2").touch()
    with pytest.raises(SweepError, match="1 of 6 chunks failed") as complaint:
        run(tmp_path, scheduler)
    assert complaint.value.details == ("numbers 2 .. 2: RuntimeError: no number 2",)
    (failure,) = tmp_path.rglob("*.failed")
    assert "Traceback" in failure.read_text()
    (folder / "raise 2").unlink()
    assert digest(run(tmp_path, scheduler)[0]) == EXPECTED
    assert computed(folder).count(2) == 2
    assert len(computed(folder)) == CONFIG.count + 1


def test_a_chunk_that_kills_its_workers_fails_and_the_rest_go_on(tmp_path, folder, scheduler):
    (folder / "kill 3").touch()
    notes = Notes()
    with pytest.raises(SweepError, match="1 of 6 chunks failed") as complaint:
        run(tmp_path, scheduler, notes)
    (line,) = complaint.value.details
    assert line.startswith("numbers 3 .. 3: KilledWorker: every worker that computed it died")
    assert [line for line in notes.lines if "it is computed once more, by itself" in line]
    (folder / "kill 3").unlink()
    assert digest(run(tmp_path, scheduler)[0]) == EXPECTED


@pytest.mark.parametrize("name", ["jax", "code of quadlaw", "device"])
def test_a_worker_with_other_code_or_packages_is_refused_before_it_computes(
    tmp_path, folder, scheduler, monkeypatch, name
):
    other = cluster_sweep.conditions() | {name: "another"}
    monkeypatch.setattr(cluster_sweep, "conditions", lambda: other)
    with pytest.raises(UserError, match=rf"a worker on .* has {name} .*, this process has another"):
        run(tmp_path, scheduler)
    # A worker that comes later is asked as well.
    monkeypatch.setattr(distributed.Client, "run", lambda *_, **__: {})
    with pytest.raises(UserError, match="results must not be mixed"):
        run(tmp_path, scheduler)
    assert not (folder / "log").exists()
    assert list(tmp_path.rglob("*")) == []


def test_workers_compute_in_the_number_type_of_the_client(tmp_path, folder, scheduler):
    jax.config.update("jax_enable_x64", False)
    try:
        run(tmp_path, scheduler)
    finally:
        jax.config.update("jax_enable_x64", True)
    with distributed.Client(scheduler, set_as_default=False) as client:
        assert not any(client.run(lambda: jax.config.jax_enable_x64).values())


def test_a_worker_that_rounds_differently_is_named_once(tmp_path, folder, scheduler, monkeypatch):
    monkeypatch.setattr(cluster_sweep, "arithmetic", lambda _: "another")
    notes = Notes()
    run(tmp_path, scheduler, notes)
    assert len([line for line in notes.lines if "rounds differently" in line]) == 1


def test_a_scheduler_without_workers_is_left_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_sweep, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(cluster_sweep, "LOOK_SECONDS", 0.1)
    notes = Notes()
    with (
        distributed.LocalCluster(
            n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as started,
        pytest.raises(UserError, match=r"has had no worker for .*0 finished chunks are kept"),
    ):
        run(tmp_path, started.scheduler_address, notes)
    assert "no worker is there; waiting for the scheduler" in notes.lines[-1]


@pytest.fixture
def quadlaw(monkeypatch, tmp_path, capsys):
    """The command line with the study of roots, in an empty folder: exit code and complaint."""
    monkeypatch.setitem(studies.STUDIES, "roots", STUDY)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = cli.run_command(arguments)
        return code, capsys.readouterr()

    return call


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_unreachable_scheduler_is_one_line(quadlaw, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_client, "CONNECT_SECONDS", 0.3)
    url = f"tcp://127.0.0.1:{free_port()}"
    code, said = quadlaw("run", "roots", "--cluster", url)
    assert code == 2
    complaint = said.err.splitlines()[-1]
    assert complaint.startswith(f"quadlaw: --cluster: the scheduler at {url} cannot be reached")
    assert list(tmp_path.rglob("*.*")) == []


MALFORMED = {
    "local": "from 1 to 1024",
    "local:": "from 1 to 1024",
    "local:0": "from 1 to 1024",
    "local:-1": "from 1 to 1024",
    "local:two": "from 1 to 1024",
    "local:2000": "from 1 to 1024",
    "tcp://host": "a host and a port",
    "tcp://host:0": "from 1 to 65535",
    "tcp://host:65536": "from 1 to 65535",
    "tcp://:8786": "a host and a port",
    "tcp:host:8786": "a host and a port",
    "tls://a:b:1": "a host and a port",
    "slurm": "must be local:N, tcp://HOST:PORT",
    "": "must be local:N, tcp://HOST:PORT",
    "missing.toml": "No such file",
}


@pytest.mark.parametrize("text", list(MALFORMED))
def test_a_malformed_cluster_is_one_line(quadlaw, tmp_path, text):
    code, said = quadlaw("run", "roots", f"--cluster={text}")
    assert code == 2
    assert said.err.count("\n") == 1
    assert said.err.startswith("quadlaw: --cluster")
    assert MALFORMED[text] in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["tcp://[::1]:8786", "tls://node-7.lan:65535"])
def test_addresses_are_passed_on_as_typed(text):
    assert parse_cluster(text).place == SchedulerAddress(text)


def test_options_of_tls_are_refused_where_they_secure_nothing(quadlaw, tmp_path):
    (tmp_path / "ca.pem").touch()
    assert "need --cluster" in quadlaw("run", "roots", "--tls-cert", "ca.pem")[1].err
    tcp = quadlaw("run", "roots", "--cluster", "tcp://h:1", "--tls-ca-file", "ca.pem")[1].err
    assert "tls://HOST:PORT" in tcp
    missing = quadlaw("run", "roots", "--cluster", "tls://h:1", "--tls-key", "no.pem")[1].err
    assert "--tls-key must be a file in PEM form, there is no 'no.pem'" in missing
    code, said = quadlaw("run", "roots", "--cluster", "tls://127.0.0.1:1")
    assert code == 2
    assert "needs certificates: --tls-ca-file" in said.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("package", "text"), [("distributed", "local:2"), ("dask_jobqueue", "slurm.toml")]
)
def test_without_the_extra_one_line_names_it(quadlaw, tmp_path, monkeypatch, package, text):
    (tmp_path / "slurm.toml").write_text(SLURM)
    monkeypatch.setattr(cluster, "is_installed", lambda name: name != package)
    code, said = quadlaw("run", "roots", "--cluster", text)
    assert code == 2
    assert said.err.count("\n") == 1
    assert f"needs the package {package.replace('_', '-')}: pip install -e '.[cluster]'" in said.err


def test_a_dry_run_starts_nothing_and_says_where_chunks_would_go(quadlaw, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster.Cluster, "computation", None)
    code, said = quadlaw("run", "roots", "--cluster", "local:2", "--dry-run")
    assert code == 0
    assert "4 of 4 chunks to compute" in " ".join(said.out.split())
    assert "would go to 2 worker processes of this machine" in said.out
    assert list(tmp_path.iterdir()) == []


def test_a_study_in_one_piece_says_that_it_runs_here(tmp_path):
    toy, notes = Toy(), Notes()
    compute = parse_cluster("local:2").computation()
    run_study(toy.study(), ToyConfig(), tmp_path, notes, compute=compute)
    assert toy.computed == 1
    assert "toy is computed in one piece; --cluster does not apply" in notes.lines[0]


def chunks_of(works):
    return [
        Chunk(f"{place}", toy_sweep.roots, {"place": place}, {}, work=float(work))
        for place, work in enumerate(works)
    ]


def test_neighbours_of_a_plan_stay_together_in_shares_of_equal_work():
    shares = Shares.of(chunks_of([1, 1, 1, 1, 1, 1, 2, 4]), 3)
    assert ["".join(chunk.name for chunk in run) for run in shares.free] == ["0123", "456", "7"]
    assert len(Shares.of(chunks_of([0, 0]), 5).free) == 2


def test_a_worker_that_is_done_takes_over_half_of_what_is_left_elsewhere():
    shares = Shares.of(chunks_of([1] * 8), 2)
    assert shares.take("gone").name == "0"
    assert [shares.take("busy").name for _ in range(6)] == ["4", "5", "6", "7", "2", "3"]
    assert shares.take("busy").name == "1"
    assert not shares
    assert shares.take("gone") is None


@pytest.mark.parametrize("seed", range(20))
def test_every_chunk_is_handed_out_once_whoever_comes_and_goes(seed):
    chance = random.Random(seed)
    chunks = chunks_of(chance.choices([0, 1, 10], k=chance.randint(1, 40)))
    shares, names = Shares.of(chunks, chance.randint(1, 12)), []
    while shares:
        names.append(shares.take(f"worker {chance.randint(0, 6)}").name)
    assert sorted(names, key=int) == [chunk.name for chunk in chunks]


def test_no_cluster_is_started_for_a_sweep_that_is_finished(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_sweep, "connected", None)
    compute = parse_cluster("local:2").computation()
    assert list(compute((), ChunkStore(tmp_path, "roots", 1), print)) == []


SLURM = """\
workers = 3
memory = "4GB"
queue = "short"
account = "laws"
walltime = "02:00:00"
cores = 8
job_extra_directives = ["--constraint=cascade"]
job_script_prologue = ["module load python"]
scheduler_options = {host = "127.0.0.1"}
"""


def test_jobs_of_slurm_are_what_the_file_says(tmp_path):
    file = tmp_path / "slurm.toml"
    file.write_text(SLURM)
    jobs = read_slurm_jobs(file)
    assert (jobs.minimum, jobs.maximum) == (3, 3)
    with slurm_cluster(jobs, None) as started:
        script = started.job_script()
        assert started.scheduler_address.startswith("tcp://127.0.0.1:")
    lines = script.splitlines()
    for line in (
        "#SBATCH -p short",
        "#SBATCH -A laws",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH -t 02:00:00",
        "#SBATCH --constraint=cascade",
        "module load python",
    ):
        assert line in lines
    assert "--nthreads 1 " in lines[-1]
    assert "distributed.cli.dask_worker tcp://127.0.0.1:" in lines[-1]


REFUSED = {
    "workers = 2\nmemory": "is no TOML",
    'workers = 2\nmemory = "1GB"\nqeue = "a"': "unknown key `qeue`; accepted are: workers, minimum",
    'memory = "1GB"': "give `workers`, or `minimum` and `maximum`",
    "workers = 2": "`memory` of a job must be given",
    'workers = 0\nmemory = "1GB"': "`workers` must be at least 1, got 0",
    'workers = true\nmemory = "1GB"': "`workers` must be a whole number, got True",
    'workers = "2"\nmemory = "1GB"': "`workers` must be a whole number, got '2'",
    'workers = 2\nmaximum = 3\nmemory = "1GB"': "not both",
    'minimum = 3\nmaximum = 2\nmemory = "1GB"': "`minimum` must be at most `maximum` 2, got 3",
    "workers = 2\nmemory = 4": "`memory` must be a text, got 4",
    'workers = 2\nmemory = "1GB"\njob_script_prologue = [1]': "must be a list of texts, got [1]",
}


@pytest.mark.parametrize("text", list(REFUSED))
def test_a_wrong_file_of_slurm_is_one_line(quadlaw, tmp_path, text):
    (tmp_path / "slurm.toml").write_text(text)
    code, said = quadlaw("run", "roots", "--cluster", "slurm.toml")
    assert code == 2
    assert said.err.count("\n") == 1
    assert "slurm.toml" in said.err
    assert REFUSED[text] in said.err


def test_what_dask_jobqueue_refuses_is_one_line(tmp_path):
    file = tmp_path / "slurm.toml"
    file.write_text('workers = 2\nmemory = "much"')
    with pytest.raises(UserError, match=r"slurm.toml: .*much"):
        slurm_cluster(read_slurm_jobs(file), None)


def test_a_machine_without_slurm_is_one_line(quadlaw, tmp_path, monkeypatch):
    (tmp_path / "slurm.toml").write_text(SLURM)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, said = quadlaw("run", "roots", "--cluster", "slurm.toml")
    assert code == 2
    assert said.err.splitlines()[-1].startswith("quadlaw: jobs of Slurm need its command sbatch")


SBATCH = """\
#!/bin/sh
cp "$1" "$0.$$.job"
setsid sh "$0.$$.job" > "$0.$$.log" 2>&1 < /dev/null &
echo "Submitted batch job $!"
"""
SCANCEL = """\
#!/bin/sh
kill -- "-$1" && echo "$1" >> "$0.log"
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A folder with commands that pass for those of Slurm; jobs run at once, on this machine."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    return bin_folder


def jobs_file(folder, count):
    file = folder / "slurm.toml"
    file.write_text(f'{count}\nmemory = "2GB"\nscheduler_options = {{host = "127.0.0.1"}}\n')
    return str(file)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX process groups")
@pytest.mark.parametrize("count", ["workers = 2", "minimum = 0\nmaximum = 2"])
def test_jobs_handed_to_a_stand_in_for_slurm_give_the_bits_of_one_process(
    tmp_path, folder, stand_in, count
):
    assert digest(run(tmp_path / "results", jobs_file(tmp_path, count))[0]) == EXPECTED
    cancelled = (stand_in / "scancel.log").read_text().split()
    assert len(cancelled) == len(list(stand_in.glob("sbatch.*.job")))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX process groups")
def test_a_job_that_ends_early_is_followed_by_another(tmp_path, folder, stand_in, monkeypatch):
    monkeypatch.setattr(cluster_client, "LOST_WORKER_SECONDS", 0.5)
    (folder / "end job 3").touch()
    notes = Notes()
    assert digest(run(tmp_path / "r", jobs_file(tmp_path, "workers = 1"), notes)[0]) == EXPECTED
    assert len(list(stand_in.glob("sbatch.*.job"))) == 2
    assert [line for line in notes.lines if "no worker is there; waiting for 1 worker" in line]


def kill_workers(folder, moments, kills, over):
    """Kills a worker that has begun a chunk, at random moments until it is over."""
    while not over.wait(moments.uniform(0.5, 2.0)):
        begun = processes(folder) if (folder / "log").exists() else set()
        workers = sorted(pid for pid in begun if psutil.pid_exists(pid))
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(moments.choice(workers), signal.SIGKILL)
                kills.append(time.monotonic())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_workers_killed_at_random_moments_change_no_bit(tmp_path, folder, kept):
    (folder / "slowly").touch()
    config, kills, moments = SweepConfig(count=40), [], random.Random(0)
    expected = digest(toy_sweep.compute(config, Progress()))
    number = 0
    while len(kills) < 25:
        number += 1
        root, over = tmp_path / str(number), threading.Event()
        kept.clear()
        (folder / "log").unlink(missing_ok=True)
        killer = threading.Thread(target=kill_workers, args=(folder, moments, kills, over))
        killer.start()
        try:
            with contextlib.suppress(SweepError):  # one was there at every death, even alone
                run(root, "local:2", config=config)
        finally:
            over.set()
            killer.join()
        assert digest(run(root, "local:2", config=config)[0]) == expected
        assert sorted(kept) == sorted(chunk.name for chunk in toy_sweep.plan(config).chunks)
        assert hidden(root) == []


PROGRAM = """
import signal, sys
from experiments import cli, studies
from tests.toy_sweep import STUDY
signal.signal(signal.SIGINT, signal.default_int_handler)
studies.STUDIES["roots"] = STUDY
sys.exit(cli.run_command(["run", "roots", "--count", "6", *sys.argv[1:]]))
"""


def start(root, *options):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--results", str(root), *options],
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def all_but_one(root, process):
    """Waits until all chunks but the one that waits are kept; the processes of the run."""
    while len(list(root.rglob("*.chunk"))) < CONFIG.count - 1:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    return [process.pid, *(child.pid for child in psutil.Process(process.pid).children(True))]


def ended(processes):
    alive = [psutil.Process(pid) for pid in processes if psutil.pid_exists(pid)]
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_a_client_that_ends_takes_its_workers_along_and_keeps_finished_chunks(
    tmp_path, folder, name
):
    (folder / "wait 3").touch()
    process = start(tmp_path, "--cluster", "local:2")
    started = all_but_one(tmp_path, process)
    if name == "SIGINT":  # Ctrl-C reaches every process of a terminal
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.kill()
    said = process.communicate(timeout=30)[1]
    assert process.returncode == (130 if name == "SIGINT" else -signal.SIGKILL)
    assert "Traceback" not in said
    deadline = time.monotonic() + 10
    while not ended(started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ended(started)
    (folder / "wait 3").unlink()
    (folder / "log").unlink()
    assert digest(run(tmp_path, "local:2")[0]) == EXPECTED
    assert computed(folder) == [3]
    assert hidden(tmp_path) == []


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


KEY = ("-newkey", "rsa:2048", "-nodes", "-subj")


@pytest.fixture
def certificates(tmp_path):
    """Options of an authority and one certificate for all, as quadlaw and Dask name them."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    authority = (*KEY, "/CN=authority", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(tmp_path, "req", "-x509", *authority)
    openssl(tmp_path, "req", *KEY, "/CN=all", "-keyout", "all.key", "-out", "all.csr")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    openssl(tmp_path, "x509", "-req", "-in", "all.csr", *signed, "-out", "all.pem")
    names = {"--tls-ca-file": "ca.pem", "--tls-cert": "all.pem", "--tls-key": "all.key"}
    return [word for flag, name in names.items() for word in (flag, str(tmp_path / name))]


@pytest.mark.slow
def test_workers_of_this_machine_and_jobs_of_slurm_take_certificates(
    tmp_path, folder, certificates, monkeypatch
):
    tls, heard, client = Tls(*certificates[1::2]), [], cluster_client.Client

    def spy(address, **options):
        heard.append(address.scheduler_address)
        return client(address, **options)

    monkeypatch.setattr(cluster_client, "Client", spy)
    compute = parse_cluster("local:2", tls).computation()
    found = run_study(STUDY, CONFIG, tmp_path / "results", Progress(), compute=compute)[0]
    assert digest(found) == EXPECTED
    assert heard[0].startswith("tls://127.0.0.1:")
    file = tmp_path / "slurm.toml"
    file.write_text(SLURM)
    with slurm_cluster(read_slurm_jobs(file), cluster_client._security(tls)) as started:
        command = started.job_script().splitlines()[-1]
    assert "dask_worker tls://127.0.0.1:" in command
    for option in ("--tls-ca-file", "--tls-cert", "--tls-key"):
        assert f"{option} {tmp_path}" in command


@pytest.mark.slow
def test_connections_over_tls_and_a_scheduler_that_dies(tmp_path, folder, certificates):
    (folder / "wait 3").touch()
    url = f"tls://127.0.0.1:{free_port()}"
    where = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", *certificates]
    command = [sys.executable, "-m"]
    port = ["--port", url.rpartition(":")[2], "--protocol", "tls"]
    scheduler = subprocess.Popen([*command, "distributed.cli.dask_scheduler", *port, *where])
    workers = subprocess.Popen(
        [*command, "distributed.cli.dask_worker", url, "--nworkers", "2", "--nthreads", "1", *where]
    )
    try:
        root = tmp_path / "results"
        process = start(root, "--cluster", url, *certificates)
        all_but_one(root, process)
        scheduler.kill()
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 2
        assert "cannot be reached any more. 5 finished chunks are kept" in said.splitlines()[-1]
    finally:
        for left in (workers, scheduler):
            left.terminate()
            left.wait()
    (folder / "wait 3").unlink()
    assert digest(run(root, "local:2")[0]) == EXPECTED


@pytest.mark.slow
def test_a_study_of_the_house_gives_the_same_bits_on_two_workers(tmp_path):
    config = tiny_config(exponents.ExponentsConfig)
    whole = run_study(exponents.STUDY, config, tmp_path / "one", Progress())[0]
    compute = parse_cluster("local:2").computation()
    notes = Notes()
    found = run_study(exponents.STUDY, config, tmp_path / "two", notes, compute=compute)[0]
    assert digest(found) == digest(whole)
    assert not [line for line in notes.lines if "rounds" in line or "gone" in line]
