"""A module as a subspace with a spectrum: an orthonormal basis and how much each of its directions counts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.linalg import polar
from hyperspectral_geo.manifolds.angles import principal_angles
from hyperspectral_geo.spectral.checks import (
    DTYPES,
    require_basis,
    require_eigenvalues,
    require_labels,
    require_last,
)
from hyperspectral_geo.spectral.storage import read_tensors, write_tensors
from hyperspectral_geo.spectral.truncate import count_leading
from hyperspectral_geo.validation import require_finite, require_floating, require_same_kind

__all__ = ["Kind", "SpectralBasis"]

Kind = Literal["variance", "singular", "smoothness"]

_VERSION = 1


@dataclass(frozen=True, eq=False, repr=False)
class SpectralBasis:
    r"""An orthonormal basis B of a p-dimensional subspace of R^n and an eigenvalue for each of its columns.

    One convention holds for every source: **a larger eigenvalue counts more**, so eigenvalues are ≥ 0 and descend.
    ``kind`` says what they measure, and with it what *energy* means (`energies`):

    - ``"variance"`` (activations, covariance): eigenvalues of a covariance, squared units of the features; energy λ.
    - ``"singular"`` (weights, LoRA factors): singular values of the map, its gains; energy σ².
    - ``"smoothness"`` (graphs): a decreasing function of the Laplacian eigenvalue, because low frequencies count most;
      energy is the value itself. The Laplacian eigenvalues stay in ``frequencies``, ascending.

    The object is a constant: its tensors are detached clones of what was passed, nothing here writes to them, and
    callers must not either (torch has no read-only tensors). It compares and hashes by content, bit for bit and on any
    device. The *sign* of a column, and the choice of basis within tied eigenvalues, carry no meaning: compare subspaces
    with `angles`, never column by column.

    Args:
        basis: shape (n, p), n ≥ p ≥ 1, orthonormal columns: max |BᵀB − I| ≤ (128 + 4√n)·eps. float32 or float64; half
            precisions cannot hold an orthonormal basis and are refused.
        eigenvalues: shape (p,), ≥ 0, descending.
        name: a label, kept in the file.
        kind: see above.
        mean: shape (n,), subtracted by `project` and added by `reconstruct`; None for a subspace through the origin.
        frequencies: shape (p,), the Laplacian eigenvalues of a graph's basis, else None.
        metadata: strings, kept in the file.

    Raises:
        ValueError: for anything else, saying what was expected, what was got and the remedy.

    Example:
        >>> b = SpectralBasis(torch.eye(3)[:, :2], torch.tensor([4.0, 1.0]), "axes")
        >>> b
        SpectralBasis(name='axes', n=3, p=2, kind='variance', dtype=torch.float32)
        >>> b.project(torch.tensor([1.0, 2.0, 3.0]))
        tensor([1., 2.])
        >>> b.truncate(energy=0.8).p
        1
    """

    basis: Float[Tensor, "n p"]
    eigenvalues: Float[Tensor, " p"]
    name: str = ""
    kind: Kind = field(default="variance", kw_only=True)
    mean: Float[Tensor, " n"] | None = field(default=None, kw_only=True)
    frequencies: Float[Tensor, " p"] | None = field(default=None, kw_only=True)
    metadata: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        require_labels(self.name, self.kind, self.metadata)
        tensors = self._tensors()
        for key, x in tensors.items():
            require_floating(key, x)
        require_same_kind(**tensors)
        require_basis(self.basis)
        require_eigenvalues(self.basis, self.eigenvalues)
        for key, length in (("mean", self.n), ("frequencies", self.p)):
            if key not in tensors:
                continue
            if tensors[key].shape != (length,):
                raise ValueError(
                    f"{key}: expected shape ({length},) to match the basis, got {tuple(tensors[key].shape)}"
                )
            require_finite(key, tensors[key])
        for key, x in tensors.items():
            object.__setattr__(self, key, x.detach().clone(memory_format=torch.contiguous_format))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    @property
    def n(self) -> int:
        """Dimension of the space."""
        return self.basis.shape[0]

    @property
    def p(self) -> int:
        """Dimension of the subspace."""
        return self.basis.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """dtype of the tensors."""
        return self.basis.dtype

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.basis.device

    @property
    def energies(self) -> Float[Tensor, " p"]:
        """Share of each direction that adds up: σ² for singular values, the eigenvalue otherwise."""
        return self.eigenvalues.square() if self.kind == "singular" else self.eigenvalues.clone()

    def project(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch p"]:
        """Coefficients (x − mean) B, shape (…, p), of vectors of shape (…, n). Raises `ValueError` for another n."""
        require_last("x", x, self.n, like=self.basis)
        return (x if self.mean is None else x - self.mean) @ self.basis

    def reconstruct(self, coefficients: Float[Tensor, "*batch p"]) -> Float[Tensor, "*batch n"]:
        """Vectors c Bᵀ + mean, shape (…, n), from coefficients (…, p); undoes `project` on the subspace."""
        require_last("coefficients", coefficients, self.p, like=self.basis)
        x = coefficients @ self.basis.mT
        return x if self.mean is None else x + self.mean

    def angles(self, other: SpectralBasis) -> Float[Tensor, " q"]:
        """Principal angles to another basis of the same space: radians, ascending, min(p, p′) of them.

        Raises `ValueError` if the spaces, dtypes or devices differ.
        """
        if not isinstance(other, SpectralBasis):
            raise ValueError(f"other: expected a SpectralBasis, got {type(other).__name__}; wrap the tensor in one")
        if other.n != self.n:
            raise ValueError(f"other: expected a basis in the same space, n = {self.n}, got n = {other.n}")
        require_same_kind(basis=self.basis, other=other.basis)
        return principal_angles(self.basis, other.basis)

    def truncate(
        self,
        *,
        rank: int | None = None,
        energy: float | None = None,
        above: float | None = None,
        noise_shape: tuple[int, int] | None = None,
        sigma: float | None = None,
        confidence: float = 0.99,
    ) -> SpectralBasis:
        """The leading directions: give exactly one of ``rank``, ``energy``, ``above`` and ``noise_shape``.

        Args:
            rank: keep this many, 1 … p. If the cut falls between tied eigenvalues, which of the tied directions stay
                is arbitrary, as the directions themselves are.
            energy: keep the fewest that hold this fraction of the energy held here (`rank_by_energy`).
            above: keep the eigenvalues greater than this number.
            noise_shape: keep what rises above the noise edge of a matrix of this shape: the weight's (rows, columns)
                for singular values (`noise_edge`), (samples, features) for variances (`covariance_noise_edge`; one
                degree of freedom is deducted if there is a ``mean``). All eigenvalues must still be here, unless
                ``sigma`` is given.
            sigma: the noise's standard deviation, if known; with ``noise_shape`` only.
            confidence: probability that noise stays below the edge; with ``noise_shape`` only.

        Raises:
            ValueError: if not exactly one criterion is given, one is out of range, or nothing would be left.

        Example:
            >>> b = SpectralBasis(torch.eye(3), torch.tensor([4.0, 3.0, 0.1]))
            >>> b.truncate(above=1.0).eigenvalues
            tensor([4., 3.])
        """
        count = count_leading(
            self.eigenvalues,
            kind=self.kind,
            centred=self.mean is not None,
            rank=rank,
            energy=energy,
            above=above,
            noise_shape=noise_shape,
            sigma=sigma,
            confidence=confidence,
        )
        frequencies = None if self.frequencies is None else self.frequencies[:count]
        return replace(self, basis=self.basis[:, :count], eigenvalues=self.eigenvalues[:count], frequencies=frequencies)

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> SpectralBasis:
        """The same basis in another dtype (float32 or float64) or on another device.

        From float32 to float64 the columns are made orthonormal to the new precision (nearest such matrix, a change of
        about the old eps). Raises `ValueError` for other dtypes.
        """
        dtype = self.dtype if dtype is None else dtype
        if dtype not in DTYPES:
            raise ValueError(f"dtype: expected torch.float32 or torch.float64, got {dtype}; cast its tensors instead")
        moved = {key: x.to(device=device, dtype=dtype) for key, x in self._tensors().items()}
        if torch.finfo(dtype).eps < torch.finfo(self.dtype).eps:
            moved["basis"] = polar(moved["basis"])
        return replace(self, **moved)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file: whole or not at all, and bit for bit what `load` gives back.

        Raises:
            ValueError: for more than 256 KiB of name and metadata.
            OSError: if the folder is missing or not writable; what stood at ``path`` then stays.
        """
        record = {
            "what": "SpectralBasis",
            "version": _VERSION,
            "name": self.name,
            "kind": self.kind,
            "metadata": dict(self.metadata),
        }
        write_tensors(path, self._tensors(), record=record)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SpectralBasis:
        """Read a file that `save` wrote; every tensor and label is checked as on construction.

        Raises:
            ValueError: naming the file and the tensor, for a file that is corrupt, hostile, a pickle, of another kind
                or of a newer version.
            OSError: if the file cannot be opened.
        """
        tensors, record = read_tensors(
            path, required={"basis": 2, "eigenvalues": 1}, optional={"mean": 1, "frequencies": 1}
        )
        if record.get("what") != "SpectralBasis":
            raise ValueError(f"{path}: expected a SpectralBasis, got {str(record.get('what'))[:80]!r}")
        if record.get("version") != _VERSION:
            raise ValueError(
                f"{path}: expected format version {_VERSION}, got {str(record.get('version'))[:40]}; update the package"
            )
        try:
            labels = {key: record[key] for key in ("name", "kind", "metadata")}
            require_labels(*labels.values())
            return cls(**tensors, **labels)  # pyright: ignore[reportArgumentType]
        except KeyError as error:
            raise ValueError(f"{path}: the record lacks {error}; the file is corrupt") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def _tensors(self) -> dict[str, Tensor]:
        keys = ("basis", "eigenvalues", "mean", "frequencies")
        return {key: x for key in keys if (x := getattr(self, key)) is not None}

    def _labels(self) -> tuple[object, ...]:
        return self.name, self.kind, tuple(sorted(self.metadata.items())), self.dtype

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpectralBasis):
            return NotImplemented
        mine, theirs = self._tensors(), other._tensors()
        same = self._labels() == other._labels() and mine.keys() == theirs.keys()
        return same and all(torch.equal(x.cpu(), theirs[key].cpu()) for key, x in mine.items())

    def __hash__(self) -> int:
        digest = hashlib.blake2b(repr(self._labels()).encode(), digest_size=8)
        for key, x in self._tensors().items():
            digest.update(key.encode())
            digest.update((x.cpu() + 0.0).numpy().tobytes())  # + 0.0 turns -0.0, which equals 0.0, into it
        return int.from_bytes(digest.digest(), "little")

    def __reduce__(self) -> tuple[object, ...]:
        # copy and multiprocessing need this, because a mapping proxy cannot be copied.
        return _rebuild, (self._tensors(), self.name, self.kind, dict(self.metadata))

    def __repr__(self) -> str:
        return f"SpectralBasis(name={self.name!r}, n={self.n}, p={self.p}, kind={self.kind!r}, dtype={self.dtype})"


def _rebuild(tensors: dict[str, Tensor], name: str, kind: Kind, metadata: dict[str, str]) -> SpectralBasis:
    return SpectralBasis(**tensors, name=name, kind=kind, metadata=metadata)
