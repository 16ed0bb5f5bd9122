"""Benchmarks: rows that judge fairly, times that are ratios of work, an oracle that is right, and one real run."""

from __future__ import annotations

import gc
import io
import json
import math
import re
import time

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from hyperspectral_geo.benchmarks import lorentz_oracle, manifolds
from hyperspectral_geo.benchmarks.lorentz_oracle import exact_distance, lorentz_rows, pair_at_radius
from hyperspectral_geo.benchmarks.table import BenchTable, Row, environment, worst
from hyperspectral_geo.benchmarks.timing import Pair, compare, one_thread
from hyperspectral_geo.cli import app
from hyperspectral_geo.linalg import orthonormalize
from hyperspectral_geo.manifolds import Lorentz

# Rows


@pytest.mark.parametrize(
    ("value", "bar", "better", "passed"),
    [
        (2.0, 1.0, "higher", True),
        (1.0, 1.0, "higher", True),
        (0.9, 1.0, "higher", False),
        (0.9, 1.0, "lower", True),
        (1.0, 1.0, "lower", True),
        (1.1, 1.0, "lower", False),
        (0.0, 0.0, "lower", True),
        (5.0, None, "lower", None),
        (math.nan, None, "lower", None),
        (math.nan, 1.0, "lower", False),
        (math.nan, 1.0, "higher", False),
        (math.inf, 1.0, "lower", False),
        (math.inf, 1.0, "higher", True),
    ],
)
def test_a_row_passes_at_its_bar_and_never_with_a_nan(value: float, bar: float | None, better, passed: bool | None):
    assert Row("figure", value, bar, better).passed is passed


def test_the_worst_error_is_not_hidden_behind_a_nan():
    assert worst([1.0, 3.0, 2.0]) == 3.0
    for errors in ([math.nan, 1.0], [1.0, math.nan], [1.0, math.nan, 2.0]):
        assert worst(errors) == math.inf


def strange_table() -> BenchTable:
    rows = [
        Row("plain", 1.5, 1.0, "higher", (1.0, 2.0), "1 ms", "peer 2 ms", "×"),
        Row("nan", math.nan, 1.0, "lower", (math.nan, math.inf)),
        Row("infinite", -math.inf, math.inf),
        Row("informs [not markup] µ", 123456.789),
        Row("small", 1e-12, 0.0, "lower"),
    ]
    return BenchTable("strange", rows, ["a note with [brackets]"], {"torch": "2"})


def test_to_dict_is_json_by_the_standard():
    table = strange_table()
    text = json.dumps(table.to_dict(), allow_nan=False)
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    plain, nan, infinite, *_ = read["rows"]
    assert plain == {
        "figure": "plain",
        "value": 1.5,
        "bar": 1.0,
        "better": "higher",
        "interval": [1.0, 2.0],
        "ours": "1 ms",
        "peer": "peer 2 ms",
        "unit": "×",
        "passed": True,
    }
    assert (nan["value"], nan["interval"], nan["passed"]) == ("nan", ["nan", "inf"], False)
    assert (infinite["value"], infinite["bar"], infinite["passed"]) == ("-inf", "inf", False)
    assert [row["passed"] for row in read["rows"]] == [row.passed for row in table.rows]
    assert read["notes"] == ["a note with [brackets]"]
    # What was measured stays as it was.
    assert math.isnan(table.rows[1].value)


def test_a_table_prints_every_row_literally():
    out = io.StringIO()
    strange_table().show(Console(file=out))
    for text in ("plain", "1.5×", "≥ 1×", "ok", "missed", "nan", "informs [not markup] µ", "note with [brackets]"):
        assert text in out.getvalue()


def test_environment_names_versions_and_what_is_missing():
    found = environment("no-such-package")
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert found["no-such-package"] == "not installed"
    assert found["torch threads"] == str(torch.get_num_threads())


# Times


def burn(seconds: float) -> None:
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


def test_compare_gives_the_ratio_of_cpu_time():
    pair = compare(lambda: burn(0.004), lambda: burn(0.012), turns=5)
    assert len(pair.ours) == len(pair.peer) == 5
    assert 2.5 < pair.speedup < 3.5
    assert pair.interval[0] <= pair.speedup <= pair.interval[1]
    swapped = compare(lambda: burn(0.012), lambda: burn(0.004), turns=3)
    assert 1 / 3.5 < swapped.speedup < 1 / 2.5


def test_compare_does_not_charge_for_sleep():
    pair = compare(lambda: burn(0.004), lambda: (burn(0.004), time.sleep(0.02)), turns=3)
    assert pair.speedup < 2


def test_compare_takes_turns_and_warms_both_sides_alike():
    calls = []
    compare(lambda: calls.append("ours"), lambda: calls.append("peer"), turns=3)
    assert calls == ["ours", "ours", "peer", "peer"] * 3


def test_compare_restores_the_collector():
    states = []
    assert gc.isenabled()
    compare(lambda: states.append(gc.isenabled()), lambda: None, turns=1)
    assert gc.isenabled()
    assert states == [False, False]

    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(fail, fail, turns=1)
    assert gc.isenabled()


def test_pairs_add_and_trim_their_extremes():
    pair = Pair((1.0, 1.0), (2.0, 4.0)) + Pair((1.0, 2.0, 1.0), (3.0, 100.0, 0.5))
    assert pair.speedups == [0.5, 2, 3, 4, 50]
    assert pair.speedup == 3
    assert pair.interval == (2, 4)
    assert Pair((1.0, 1.0), (2.0, 4.0)).interval == (2, 4)


def test_one_thread_is_given_back():
    threads, inside = torch.get_num_threads(), []

    @one_thread()
    def fail() -> None:
        inside.append(torch.get_num_threads())
        raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert inside == [1]
    assert torch.get_num_threads() == threads


# The oracle


@pytest.mark.parametrize("radius", [0, 3, 8, 15])
def test_oracle_is_the_poincare_formula(radius: int):
    """The distance through another model: u = x / (1 + x₀), then 2·artanh of the Möbius difference."""
    import mpmath as mp

    x, y = pair_at_radius(radius, 5, seed=7, dtype=torch.float64)
    found, gradient = exact_distance(x, y)

    def distance(a, b):
        u, v = ([c / (1 + mp.sqrt(1 + sum(d * d for d in point))) for c in point] for point in (a, b))
        uu, vv = (sum(c * c for c in point) for point in (u, v))
        uv = sum(c * d for c, d in zip(u, v, strict=True))
        apart = uu + vv - 2 * uv
        return 2 * mp.atanh(mp.sqrt(apart / (1 - 2 * uv + uu * vv)))

    with mp.workdps(70):
        a, b = ([mp.mpf(c) for c in point.tolist()] for point in (x, y))
        assert found == pytest.approx(float(distance(a, b)), rel=1e-15)
        for i in range(5):

            def along(value, i=i):
                return distance([*a[:i], value, *a[i + 1 :]], b)

            assert gradient[i].item() == pytest.approx(float(mp.diff(along, a[i])), rel=1e-10, abs=1e-25)


@pytest.mark.parametrize(("radius", "dtype"), [(0, torch.float64), (6, torch.float64), (6, torch.float32)])
def test_pairs_lie_at_the_radius_and_the_distance(radius: int, dtype: torch.dtype):
    for seed in range(3):
        x, y = pair_at_radius(radius, 10, seed=seed, dtype=dtype)
        rounding = 4 * torch.finfo(dtype).eps * math.exp(radius)
        assert x.dtype == y.dtype == dtype
        assert math.asinh(x.double().norm().item()) == pytest.approx(radius, abs=rounding)
        assert exact_distance(x, y)[0] == pytest.approx(1.7627, abs=rounding)
    other, _ = pair_at_radius(radius, 10, seed=99, dtype=dtype)
    assert radius == 0 or not torch.equal(x, other)


class Broken(Lorentz):
    """Answers NaN now and then."""

    def dist(self, x, y, *, keepdim=False, dim=-1):
        distance = super().dist(x, y, keepdim=keepdim, dim=dim)
        return distance * math.nan if x[1] > 0 else distance


def test_a_nan_of_ours_misses_its_bar(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lorentz_oracle, "Lorentz", Broken)
    rows = list(lorentz_rows(pairs=6, dim=2))
    assert sum(row.passed is False for row in rows) > len(rows) / 2
    assert [row.passed for row in rows[-2:]] == [False, False]


# The table of the manifold layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exact", [True, False])
def test_constructed_bases_have_the_angles(dtype: torch.dtype, exact: bool):
    x, y, angles = manifolds._constructed(3, (2, 40, 6), dtype, exact=exact)
    eps = torch.finfo(dtype).eps
    assert angles[:, 0].tolist() == [1e-12] * 2
    assert angles[:, -1].tolist() == [math.pi / 2] * 2
    for a, b, true in zip(x.double().numpy(), y.double().numpy(), angles.numpy(), strict=True):
        np.testing.assert_allclose(a.T @ a, np.eye(6), atol=20 * eps)
        # Written out: SciPy's subspace_angles gives 0 for an angle of 1e-12.
        sines = np.linalg.svd(b - a @ (a.T @ b), compute_uv=False)[::-1]
        cosines = np.linalg.svd(a.T @ b, compute_uv=False)
        measured = np.where(cosines**2 > 0.5, np.arcsin(np.minimum(sines, 1)), np.arccos(np.minimum(cosines, 1)))
        np.testing.assert_allclose(measured, true, atol=20 * eps)


def test_points_and_clouds_are_what_they_say():
    x, u = manifolds._points(1, (3, 20, 4), torch.float64, length=2.5)
    torch.testing.assert_close(x.mT @ x, torch.eye(4, dtype=torch.float64).expand(3, 4, 4))
    torch.testing.assert_close(x.mT @ u, torch.zeros(3, 4, 4, dtype=torch.float64), atol=1e-13, rtol=0)
    torch.testing.assert_close(torch.linalg.matrix_norm(u), torch.full((3,), 2.5, dtype=torch.float64))
    cloud = manifolds._cloud(1, 5, 20, 4, torch.float64)
    torch.testing.assert_close(orthonormalize(cloud).abs(), cloud.abs(), atol=1e-12, rtol=0)


def test_a_missing_peer_is_said_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(manifolds, "find_spec", lambda name: None if name == "pymanopt" else object())
    with pytest.raises(ModuleNotFoundError, match=r"pymanopt is not installed; python -m pip install"):
        manifolds.run(quick=True)


WHERE = [f"{shape} {dtype}" for shape in ("64×768×16", "8×4096×64") for dtype in ("float32", "float64")]
BARS = {
    **{f"exp {where}": (6.0 if "32" in where[-2:] else 3.0, "higher") for where in WHERE},
    **{f"log {where}": (4.0 if "32" in where[-2:] else 1.6, "higher") for where in WHERE},
    **{f"angle error {where}": (10.0, "lower") for where in WHERE},
    **{f"angles, time over pymanopt's dist {where}": (3.0, "lower") for where in WHERE},
    "‖YᵀY − I‖/√p after exp, 64×768×16 float32": (1e-6, "lower"),
    "‖YᵀY − I‖/√p after exp, 8×4096×64 float32": (1e-6, "lower"),
    "Karcher mean of 64 points 768×16 float64 to 1e-8": (2.5, "higher"),
    "Karcher mean, float32: share of seeds converged": (1.0, "higher"),
    **{f"Lorentz distance, r={r} float32: relative error": (1e-4, "lower") for r in (0, 2, 4, 6, 8, 10, 12)},
    **{f"Lorentz distance, r={r} float32: relative error": (0.02, "lower") for r in (15, 18)},
    **{f"Lorentz distance, r={r} float64: relative error": (1e-10, "lower") for r in (0, 6, 12, 18, 25)},
    "mammals, hyperbolic d = 5: mean rank": (1.26, "lower"),
    "mammals, hyperbolic d = 5: MAP": (0.95, "higher"),
    "Lorentz gradient, all of these: relative error": (1e-3, "lower"),
    "Lorentz distance from a point to itself, all of these": (0.0, "lower"),
}
GEOMSTATS = {f"{name} 768×16 float64, per item": (3000.0, "higher") for name in ("exp", "log")}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str, BenchTable]:
    """``hsgeo bench manifolds --quick --json`` once: what the file holds, what was printed, and the table itself."""
    folder, tables = tmp_path_factory.mktemp("bench"), []
    run = manifolds.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifolds, "run", lambda **given: tables.append(run(**given)) or tables[-1])
        result = CliRunner().invoke(app, ["bench", "manifolds", "--quick", "--json", str(folder / "rows.json")])
    assert result.exit_code == 0, result.output
    assert [path.name for path in folder.iterdir()] == ["rows.json"]
    return json.loads((folder / "rows.json").read_text(encoding="utf-8")), result.stdout, tables[0]


def test_every_figure_of_the_issue_is_measured_against_its_bar(bench):
    rows = {row.figure: (row.bar, row.better) for row in bench[2].rows}
    geomstats_runs = manifolds._geomstats_grassmannian() is not None
    assert rows == {**BARS, **(GEOMSTATS if geomstats_runs else {})}
    assert any("geomstats' rows are left out" in note for note in bench[2].notes) != geomstats_runs


def test_every_figure_but_time_reaches_its_bar(bench):
    for row in bench[2].rows:
        if "ms" in row.ours:
            assert row.value > 0
            assert re.fullmatch(r"[\d.]+ ms", row.ours)
            assert re.search(r"[\d.]+ ms$", row.peer)
        else:
            assert row.passed, row
        if row.interval is not None:
            assert row.interval[0] <= row.value * (1 + 1e-9)
            assert row.value <= row.interval[1] * (1 + 1e-9)


def test_a_ratio_is_the_one_of_the_times_beside_it(bench):
    for row in bench[2].rows:
        if "ms" in row.ours:
            ours, peer = (float(re.search(r"([\d.]+) ms", text)[1]) for text in (row.ours, row.peer))
            ratio = ours / peer if row.better == "lower" else peer / ours
            # A ratio of medians lies between the extreme ratios, those of a quick run's interval; 5 % for digits.
            assert 0.95 * row.interval[0] <= ratio <= 1.05 * row.interval[1], row


def test_the_file_holds_the_printed_table(bench):
    read, printed, table = bench
    assert read == json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert [row["figure"] for row in read["rows"]] == [row.figure for row in table.rows]
    for row in table.rows:
        assert row.figure.split(",")[0].split(" float")[0] in printed
    assert "one thread" in " ".join(table.notes)


def test_the_environment_is_that_of_the_measurement(bench):
    _, _, table = bench
    assert table.environment["torch threads"] == "1"
    assert {"torch", "numpy", "pymanopt", "geoopt", "mpmath", "processor"} <= table.environment.keys()
