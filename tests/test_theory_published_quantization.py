"""Published numbers of quantized training are consistent with each other, as far as they can be."""

import pytest

from theory.published_quantization import (
    ACCURACY,
    PTQ_ACCURACY,
    PTQ_CORRELATIONS,
    QAT_ACCURACY,
    QAT_DROP,
    QAT_EFFICIENCY,
    QUEST_FIT,
    quest_format,
)


def test_drops_are_relative_but_for_one_in_points():
    checked, points = 0, []
    for size, row in QAT_DROP.items():
        for optimizer, printed in row.items():
            if size not in ACCURACY:
                continue
            full, low = ACCURACY[size][optimizer], QAT_ACCURACY[size][optimizer]
            # Accuracies are printed to 0.01 of about 60.
            if printed == pytest.approx(100 * (low / full - 1), abs=0.022):
                checked += 1
            else:
                assert printed == pytest.approx(low - full, abs=0.011)
                points.append((size, optimizer))
    assert checked == 8
    assert points == [("1.5B", "muon")]


def test_every_table_is_about_known_optimizers():
    for table in (ACCURACY, PTQ_ACCURACY, QAT_ACCURACY, QAT_DROP):
        for row in table.values():
            assert set(row) <= set(QAT_EFFICIENCY)
    order = sorted(QAT_EFFICIENCY, key=lambda name: -QAT_EFFICIENCY[name].rho)
    assert order == ["shampoo", "adamw", "scion", "muon", "soap", "psgd"]
    assert PTQ_CORRELATIONS.relative_error < 0 < PTQ_CORRELATIONS.max_to_median


def test_formats_of_quest_runs():
    names = {
        ("NoQuantizer", "NoQuantizer", 16): "16",
        ("HalfHadamardTrustQuantizer", "HalfHadamardTrustQuantizer", 4): "4",
        ("HadamardClipQuantizer", "HadamardClipQuantizer", 1): "1",
        ("TrustQuantizer", "TrustQuantizer", 3): "3NOH",
        ("HalfHadamardTrustQuantizer", "NoQuantizer", 2): "2WO",
        ("HalfHadamardFP4TrustQuantizer", "HalfHadamardFP4TrustQuantizer", 16): "fp4",
        ("HadamardFourEightTrustQuantizer", "HadamardTrustQuantizer", 4): "2:4",
    }
    for arguments, expected in names.items():
        assert quest_format(*arguments) == expected
        assert expected in QUEST_FIT.efficiency
