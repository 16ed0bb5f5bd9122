"""Row-wise Adam: torch's own where all rows move, untouched rows where they do not, and its state there and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hyperspectral_geo.hyperbolic.parameters import Gradient, summed_rows
from hyperspectral_geo.hyperbolic.row_adam import RowAdam

SHAPES = {"scalar": (), "vector": (5,), "matrix": (5, 3), "one row": (1, 4)}
RATES = [0.1, 0.1, 0.05, 0.2, 0.01] * 6


def gradients(shape: tuple[int, ...], dtype: torch.dtype, *, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in RATES]


@pytest.mark.parametrize("by_row", [False, True], ids=["whole", "all rows by number"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_where_all_rows_move_it_is_the_adam_of_torch(shape, dtype: torch.dtype, by_row: bool):
    if by_row and not shape:
        shape = (1,)
    mine, theirs = (
        torch.linspace(-1, 1, 15, dtype=dtype)[: torch.Size(shape).numel()].reshape(shape) for _ in range(2)
    )
    mine, theirs = mine.clone(), theirs.clone().requires_grad_()
    adam = RowAdam({"p": mine}, betas=(0.8, 0.95), eps=1e-6)
    peer = torch.optim.Adam([theirs], betas=(0.8, 0.95), eps=1e-6)
    for rate, gradient in zip(RATES, gradients(shape, dtype), strict=True):
        rows = torch.randperm(shape[0]) if by_row else None
        adam.step({"p": Gradient(rows, gradient if rows is None else gradient[rows])}, rate)
        peer.param_groups[0]["lr"] = rate
        theirs.grad = gradient
        peer.step()
        rtol = 1e-12 if dtype == torch.float64 else 1e-4
        torch.testing.assert_close(mine, theirs.detach(), rtol=rtol, atol=rtol)


def test_each_row_lives_by_itself():
    # rows met at different steps move as tables of their own would
    table = torch.zeros(4, 2, dtype=torch.float64)
    adam = RowAdam({"z": table})
    alone = {i: torch.zeros(1, 2, dtype=torch.float64) for i in range(4)}
    single = {i: RowAdam({"z": alone[i]}) for i in range(4)}
    generator = torch.Generator().manual_seed(1)
    for step in range(40):
        rows = torch.randperm(3, generator=generator)[: 1 + step % 3]  # never row 3
        gradient = torch.randn(len(rows), 2, generator=generator, dtype=torch.float64)
        before = table.clone()
        adam.step({"z": Gradient(rows, gradient)}, 0.1)
        others = torch.ones(4, dtype=torch.bool).index_fill(0, rows, False)
        assert torch.equal(table[others], before[others])
        for row, g in zip(rows.tolist(), gradient, strict=True):
            single[row].step({"z": Gradient(None, g[None])}, 0.1)
    torch.testing.assert_close(table, torch.cat([alone[i] for i in range(4)]), rtol=1e-12, atol=1e-12)
    assert torch.equal(table[3], torch.zeros(2, dtype=torch.float64))
    state = adam.state()
    assert state["met.z"][3] == 0
    assert not bool(state["first.z"][3].any() | state["second.z"][3].any())


def test_tensors_without_a_gradient_stay():
    tables = {"a": torch.ones(2), "b": torch.ones(())}
    adam = RowAdam(tables)
    adam.step({"b": Gradient(None, torch.tensor(3.0))}, 0.5)
    assert tables["a"].tolist() == [1, 1]
    assert float(tables["b"]) == pytest.approx(0.5)
    adam.step({"a": Gradient(torch.tensor([], dtype=torch.int64), torch.zeros(0))}, 0.5)  # no row at all
    assert tables["a"].tolist() == [1, 1]


def test_the_first_step_is_as_long_as_the_rate_however_late_a_row_is_met():
    table = torch.zeros(2, 3, dtype=torch.float64)
    adam = RowAdam({"z": table})
    for _ in range(1000):
        adam.step({"z": Gradient(torch.tensor([0]), torch.ones(1, 3, dtype=torch.float64))}, 0.01)
    adam.step({"z": Gradient(torch.tensor([1]), torch.tensor([[5.0, -1e-3, 70.0]], dtype=torch.float64))}, 0.01)
    torch.testing.assert_close(table[1], torch.tensor([-0.01, 0.01, -0.01], dtype=torch.float64), rtol=1e-6, atol=0)


def make(dtype: torch.dtype = torch.float32) -> RowAdam:
    return RowAdam({"z": torch.zeros(3, 2, dtype=dtype), "s": torch.zeros((), dtype=dtype)})


def move(adam: RowAdam, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    dtype = adam.parameters["s"].dtype
    rows = torch.randperm(3, generator=generator)[:2]
    z, s = torch.randn(2, 2, generator=generator), torch.randn((), generator=generator)
    adam.step({"z": Gradient(rows, z.to(dtype)), "s": Gradient(None, s.to(dtype))}, 0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_state_taken_over_goes_on_bit_by_bit(dtype: torch.dtype):
    straight = make(dtype)
    for seed in range(10):
        move(straight, seed)
    first = make(dtype)
    for seed in range(4):
        move(first, seed)
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    assert set(state) == {f"{part}.{name}" for part in ("first", "second", "met") for name in ("z", "s")}
    second = RowAdam({name: tensor.clone() for name, tensor in first.parameters.items()})
    second.load_state(state)
    for seed in range(4, 10):
        move(second, seed)
    assert all(torch.equal(second.parameters[name], straight.parameters[name]) for name in ("z", "s"))
    assert all(torch.equal(second.state()[name], tensor) for name, tensor in straight.state().items())
    assert torch.equal(state["first.z"], first.state()["first.z"])  # what was taken over is a copy


@pytest.mark.parametrize("name", ["first.z", "second.s", "met.z"])
@pytest.mark.parametrize("wrong", ["missing", "shape", "dtype"])
def test_a_state_that_does_not_fit_is_refused(name: str, wrong: str):
    state = make().state()
    if wrong == "missing":
        del state[name]
    else:
        state[name] = torch.zeros(7, dtype=state[name].dtype) if wrong == "shape" else state[name].half()
    with pytest.raises(KeyError if wrong == "missing" else ValueError, match=name):
        make().load_state(state)


def test_repeated_rows_add_up():
    rows, values = torch.tensor([3, 1, 3, 3]), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    found = summed_rows(rows, values)
    assert found.rows is not None
    assert found.rows.tolist() == [1, 3]
    assert found.value.tolist() == [[3, 4], [13, 16]]
    assert summed_rows(rows, values[:, 0]).value.tolist() == [3, 13]
    empty = summed_rows(rows[:0], values[:0])
    assert empty.value.shape == (0, 2)
