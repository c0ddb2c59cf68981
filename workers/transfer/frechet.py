"""The Fréchet distance between two sets of features."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the squared Fréchet distance of the normal distributions with the sets' means and covariances.

    d² = |m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½), from Dowson and Landau 1982. Between features of images, it is the
    Fréchet inception distance of Heusel et al. 2017. The trace of the root equals that of (C₁^½ C₂ C₁^½)^½, a
    symmetric matrix, so eigenvalues of symmetric matrices suffice.

    Args:
        first, second: features, (n, k) and (m, k), with n and m at least 2.

    Returns:
        A number that is at least 0, up to rounding in float64.
    """
    a, b = first.double(), second.double()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    ca, cb = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(b.shape[1], -1)
    root = _root(ca)
    between = torch.linalg.eigvalsh(root @ cb @ root).clamp(min=0).sqrt().sum()
    return float(apart + ca.trace() + cb.trace() - 2 * between)


def _root(matrix: Tensor) -> Tensor:
    """Return the symmetric square root of a positive semidefinite matrix; negative eigenvalues are rounding errors."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    return root
