"""What is imported is the checkout; pinned versions satisfy the requirements; papers in order."""

import hashlib
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("theory", "simulate", "experiments", "paper_figures")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Of theory, what a simulation may use: problems, norms, operations, and no curve.
OPERATIONS = ("checks", "clipping", "euclidean", "hadamard", "newton_schulz", "rounding")
ALLOWED = (*OPERATIONS, "norms", "problem")
MODULES = [path for package in (*PACKAGES, "benchmarks") for path in (ROOT / package).rglob("*.py")]


@pytest.mark.parametrize("package", PACKAGES)
def test_import_names_resolve_to_this_checkout(package):
    assert Path(importlib.import_module(package).__file__).parent == ROOT / package


def test_the_wheel_holds_exactly_the_packages():
    assert tuple(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == PACKAGES
    for package in PACKAGES:
        for folder in {path.parent for path in (ROOT / package).rglob("*.py")}:
            assert (folder / "__init__.py").is_file(), folder


def test_no_module_has_the_name_of_one_of_pythons():
    names = {path.stem for path in MODULES} | set(PACKAGES)
    assert names.isdisjoint(sys.stdlib_module_names - {"__init__", "__main__"})


def test_modules_are_short_enough_to_read():
    lengths = {path: len(path.read_text().splitlines()) for path in MODULES}
    assert [path.name for path, lines in lengths.items() if lines > 400] == []


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    entries = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in entries}


def test_constraints_pin_versions_and_name_no_address():
    assert "://" not in (ROOT / "constraints.txt").read_text()
    for name, version in pins().items():
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version), name


def requirements():
    """What the environment is asked to hold."""
    project = PROJECT["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["cluster"]]
    lines += PROJECT["dependency-groups"]["dev"]
    return [Requirement(line) for line in lines]


def build_requirements():
    return [Requirement(line) for line in PROJECT["build-system"]["requires"]]


def test_every_requirement_is_pinned_at_an_allowed_version():
    for requirement in (*requirements(), *build_requirements()):
        version = pins()[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_every_requirement_of_a_requirement_is_pinned():
    todo, seen = [r.name for r in requirements()], set()
    while todo:
        name = canonicalize_name(todo.pop())
        if name in seen:
            continue
        seen.add(name)
        assert name in pins(), name
        needed = map(Requirement, importlib.metadata.requires(name) or [])
        todo += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]


def test_version_is_the_same_everywhere():
    version = PROJECT["project"]["version"]
    assert importlib.metadata.version("quadlaw") == version
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_licence_is_the_whole_apache_text():
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    # sha256sum of the text as its foundation publishes it.
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert PROJECT["project"]["license"] == "Apache-2.0"


def test_every_dependency_has_its_reason_in_the_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for requirement in (*requirements(), *build_requirements()):
        assert f"| {requirement.name} |" in text, requirement.name


def test_every_study_figure_and_command_is_in_the_readme():
    from experiments.claims import CLAIMS
    from experiments.studies import STUDIES
    from paper_figures.registry import FIGURES

    text = (ROOT / "README.md").read_text()
    for name in (*STUDIES, *FIGURES, *CLAIMS):
        assert f"`{name}`" in text, name
    for command in ("run", "list", "figures", "validate", "fit", "curve"):
        assert f"quadlaw {command}" in text


def test_documents_point_at_files_that_exist():
    for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text()):
            assert (ROOT / target).exists(), f"{name}: {target}"


@pytest.mark.slow
def test_the_wheel_installs_into_an_empty_folder_and_holds_only_code(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run(
        [*pip, "--no-deps", "--target", str(tmp_path), str(ROOT)], check=True, capture_output=True
    )
    found = {path.name for path in tmp_path.iterdir() if not path.name.endswith(".dist-info")}
    assert found - {"bin"} == set(PACKAGES)


def test_the_contract_of_simulations_names_every_curve():
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (c for c in stated["contracts"] if c.get("source_modules") == ["simulate"])
    modules = {f"theory.{path.stem}" for path in (ROOT / "theory").glob("[!_]*.py")}
    assert modules - set(contract["forbidden_modules"]) == {f"theory.{name}" for name in ALLOWED}
