"""Figures: the same bytes every time, whole files only, legible, and all of them drawn."""

import itertools
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from experiments.progress import Progress
from experiments.studies import STUDIES
from paper_figures import style
from paper_figures.registry import FIGURES, draw_all
from paper_figures.save import DPI, save_figure
from paper_figures.style import COLUMN_INCHES, OPTIMIZERS, PAGE_INCHES, PARTS, SETTINGS, paper_style

from .presets import tiny_config

SUFFIXES = (".pdf", ".png", ".csv")
SMALLEST_POINTS = 7


def drawing():
    with paper_style():
        figure, axes = plt.subplots(figsize=(COLUMN_INCHES, 2.0))
        x = np.geomspace(1, 1e6, 30)
        axes.loglog(x, x**-0.53, "o-", label="$T^{-\\beta}$")
        axes.set(xlabel="steps $T$", ylabel="loss")
        axes.legend()
    return figure, pd.DataFrame({"steps": x, "loss": x**-0.53})


def test_two_saves_are_the_same_bytes(tmp_path):
    first = save_figure(*drawing(), tmp_path / "one" / "name")
    second = save_figure(*drawing(), tmp_path / "two" / "name")
    assert [path.suffix for path in first] == list(SUFFIXES)
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    assert plt.get_fignums() == []


def test_the_csv_holds_the_plotted_numbers(tmp_path):
    figure, plotted = drawing()
    paths = save_figure(figure, plotted, tmp_path / "name")
    # Ten digits are written.
    pd.testing.assert_frame_equal(pd.read_csv(paths[2]), plotted, rtol=1e-9)


def test_the_picture_is_as_wide_as_a_column_and_sharp(tmp_path):
    paths = save_figure(*drawing(), tmp_path / "name")
    height, width = plt.imread(paths[1]).shape[:2]
    assert DPI >= 200
    assert (width, height) == (int(COLUMN_INCHES * DPI), int(2.0 * DPI))


@pytest.mark.parametrize("failing", ["savefig", "to_csv"])
def test_a_failed_save_leaves_the_old_files_whole(tmp_path, monkeypatch, failing):
    paths = save_figure(*drawing(), tmp_path / "name")
    before = {path: path.read_bytes() for path in paths}

    def full(self, target, **keywords):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    owner = "matplotlib.figure.Figure" if failing == "savefig" else "pandas.DataFrame"
    monkeypatch.setattr(f"{owner}.{failing}", full)
    with pytest.raises(OSError, match="No space"):
        save_figure(*drawing(), tmp_path / "name")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert plt.get_fignums() == []


def test_text_is_legible_and_fonts_are_embedded_without_tex():
    sizes = {name: size for name, size in SETTINGS.items() if name.endswith(("size", "labelsize"))}
    sizes.pop("lines.markersize")
    assert min(sizes.values()) >= SMALLEST_POINTS
    assert SETTINGS["pdf.fonttype"] == 42
    assert SETTINGS["text.usetex"] is False
    assert PAGE_INCHES > 2 * COLUMN_INCHES


def test_the_style_ends_with_its_block():
    before = plt.rcParams["font.size"]
    with paper_style():
        assert plt.rcParams["font.size"] == SETTINGS["font.size"]
    assert plt.rcParams["font.size"] == before


def test_every_optimizer_and_every_part_looks_different():
    for table in (OPTIMIZERS, PARTS):
        looks = [value[-2:] for value in table.values()]
        assert len(set(looks)) == len(looks)
    for label, colour, marker in OPTIMIZERS.values():
        assert label
        assert colour.startswith("#")
        assert marker in plt.Line2D.markers


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_lines_stand_out_from_white_paper():
    # Yellow, the palette's lightest, is for areas only.
    used = {value[-2] for value in OPTIMIZERS.values()} | {value[0] for value in PARTS.values()}
    for colour in used:
        assert (1.05) / (luminance(colour) + 0.05) >= 2.0, colour
    assert style.YELLOW not in used


def test_every_figure_names_known_studies():
    for figure in FIGURES.values():
        assert figure.title
        assert set(figure.studies) <= set(STUDIES)


@dataclass
class Drawn:
    out: object
    results: object


@pytest.fixture(scope="module")
def tiny():
    """Figures ask for tiny presets of long studies, else for quick ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("paper_figures.registry.quick_config", tiny_config)
        yield


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, tiny, results):
    """All figures."""
    folder = tmp_path_factory.mktemp("figures")
    draw_all(tuple(FIGURES), True, folder / "out", results, Progress())
    return Drawn(folder / "out", results)


@pytest.mark.slow
def test_every_figure_is_drawn_from_its_quick_preset(tmp_path):
    draw_all(tuple(FIGURES), True, tmp_path / "out", tmp_path / "results", Progress())
    assert len(list((tmp_path / "out").iterdir())) == len(FIGURES) * len(SUFFIXES)


def test_every_figure_is_drawn_with_its_numbers(drawn):
    expected = {name + suffix for name, suffix in itertools.product(FIGURES, SUFFIXES)}
    assert {path.name for path in drawn.out.iterdir()} == expected
    for name in FIGURES:
        numbers = pd.read_csv(drawn.out / f"{name}.csv").select_dtypes("number")
        assert np.isfinite(numbers.to_numpy()).any(axis=0).all(), name
        assert len(numbers) >= 10


# A curve with bands, a grid of panels from several dimensions, and tables of text in the record.
AGAIN = ("decomposition", "bounds", "rescaling")


def test_drawing_again_computes_nothing_and_gives_the_same_bytes(drawn, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a record was computed again")

    monkeypatch.setattr("experiments.study.save_record", refuse)
    for path in draw_all(AGAIN, True, tmp_path, drawn.results, Progress()):
        assert path.read_bytes() == (drawn.out / path.name).read_bytes(), path.name
