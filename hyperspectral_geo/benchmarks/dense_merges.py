"""The methods' formulas on full float64 matrices, with weights of one: what merging factors is measured against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["DENSE_MERGES"]


def _svd(m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u, s, vh = torch.linalg.svd(m, full_matrices=False)
    k = int((s > 1e-6 * s[0]).sum())
    return u[:, :k], s[:k], vh[:k]


def _polar(m: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(m, full_matrices=False)
    return u @ vh


def _sum(ws: list[Tensor]) -> Tensor:
    return torch.stack(ws).sum(0)


def _truncated(ws: list[Tensor]) -> Tensor:
    u, s, vh = _svd(_sum(ws))
    return u[:, :16] @ s[:16].diag() @ vh[:16]


def _tsv(ws: list[Tensor]) -> Tensor:
    parts = [_svd(m) for m in ws]
    u, s, vh = (
        torch.cat([p[0] for p in parts], 1),
        torch.cat([p[1] for p in parts]),
        torch.cat([p[2] for p in parts], 0),
    )
    return _polar(u) @ s.diag() @ _polar(vh.mT).mT


def _iso_c(ws: list[Tensor]) -> Tensor:
    u, s, vh = _svd(_sum(ws))
    return s.mean() * u @ vh


def _iso_cts(ws: list[Tensor]) -> Tensor:
    u, s, vh = _svd(_sum(ws))
    own = int(0.2 * len(s) / len(ws) + 1e-9)
    k = len(s) - own * len(ws)
    common = u[:, :k]
    rest = [_svd(m - common @ (common.mT @ m)) for m in ws] if own else []
    left = torch.cat([common, *(r[0][:, :own] for r in rest)], 1)
    right = torch.cat([vh[:k], *(r[2][:own] for r in rest)], 0)
    mean = torch.cat([s[:k], *(r[1][:own] for r in rest)]).mean()
    return mean * _polar(left) @ _polar(right.mT).mT


def _ties(xs: list[Tensor]) -> Tensor:
    trimmed = []
    for x in xs:
        limit = x.abs().flatten().sort(descending=True).values[round(0.2 * x.numel()) - 1]
        trimmed.append(torch.where(x.abs() >= limit, x, 0))
    x = torch.stack(trimmed)
    agreeing = x * x.sum(0).sign() > 0
    return torch.where(agreeing, x, 0).sum(0) / agreeing.sum(0).clamp_min(1)


def _knots_ties(ws: list[Tensor]) -> Tensor:
    left = _svd(torch.cat(ws, 1))[0]
    return left @ _ties([left.mT @ m for m in ws])


def _svc(ws: list[Tensor]) -> Tensor:
    u, s, vh = _svd(_sum(ws))
    responses = torch.stack([u.mT @ m for m in ws])
    shares = (responses * (s[:, None] * vh)).sum(-1) / responses.square().sum(-1)
    return (u * (len(ws) / shares.clamp_min(0.1).sum(0) * s)) @ vh


def _wudi(ws: list[Tensor]) -> Tensor:
    grams = [m.mT @ m / m.square().sum() for m in ws]
    total = torch.stack(grams).sum(0)
    rho = 1e-3 * torch.linalg.eigvalsh(total)[-1]
    target = torch.stack([m @ g for m, g in zip(ws, grams, strict=True)]).sum(0) + rho * _sum(ws)
    return target @ torch.linalg.inv(total + rho * torch.eye(len(total), dtype=total.dtype))


def _model_stock(ws: list[Tensor]) -> Tensor:
    units = torch.stack([(m / m.norm()).flatten() for m in ws])
    n = len(ws)
    cosine = ((units @ units.mT).sum() - n) / (n * (n - 1))
    return n * cosine.clamp_min(0) / (1 + (n - 1) * cosine.clamp_min(0)) * _sum(ws) / n


def _slerp(ws: list[Tensor]) -> Tensor:
    points = torch.stack([m.flatten() for m in ws])
    norms = points.norm(dim=1)
    units = points / norms[:, None]
    if len(ws) == 2:
        angle = torch.arccos(units[0] @ units[1])
        return (torch.sin(angle / 2) / torch.sin(angle) * points.sum(0)).reshape(ws[0].shape)
    mean = units.sum(0) / units.sum(0).norm()
    for _ in range(100):
        angles = torch.arccos(units @ mean)
        step = ((units - angles.cos()[:, None] * mean) * (angles / angles.sin())[:, None]).mean(0)
        mean = torch.cos(step.norm()) * mean + torch.sinc(step.norm() / torch.pi) * step
    return norms.mean() * mean.reshape(ws[0].shape)


DENSE_MERGES: dict[str, tuple[dict[str, Any], Callable[[list[Tensor]], Tensor]]] = {
    "linear": ({}, _sum),
    "cat": ({}, _sum),
    "svd": ({"rank": 16}, _truncated),
    "ties": ({}, _ties),
    "knots_ties": ({}, _knots_ties),
    "tsv": ({}, _tsv),
    "iso_c": ({}, _iso_c),
    "iso_cts": ({}, _iso_cts),
    "svc": ({}, _svc),
    "wudi": ({}, _wudi),
    "model_stock": ({}, _model_stock),
    "slerp": ({}, _slerp),
}
"""By method: its options, and its formula."""
