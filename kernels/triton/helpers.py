"""Functions that generated Triton kernels call: primitives that Triton lacks, and the merging of moments.

They compute in float32. NaN propagates, so that a layer that diverges can be detected.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def away_from_zero(y, eps):
    """`y` where abs(y) >= eps, else eps with the sign of `y` (+ for 0)."""
    return tl.where(tl.abs(y) < eps, tl.where(y < 0.0, -eps, eps), y)


@triton.jit
def kept(y, eps):
    """1 where `away_from_zero` leaves y alone, else 0."""
    return tl.where(tl.abs(y) >= eps, 1.0, 0.0)


@triton.jit
def maximum(a, b):
    """The larger; not a number where either is none."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def sign(a):
    """-1, 0 or 1."""
    return tl.where(a > 0.0, 1.0, tl.where(a < 0.0, -1.0, a * 0.0))


@triton.jit
def share(a, b):
    """What max(a, b) hands to a of its gradient: 1, 0, or 1/2 at a tie."""
    return tl.where(a > b, 1.0, tl.where(a < b, 0.0, 0.5))


@triton.jit
def square(a):
    """a²."""
    return a * a


@triton.jit
def tanh(a):
    """The hyperbolic tangent, to a few units in the last place.

    (1 - e) / (1 + e) with e = exp(-2 |a|) loses all of them near 0, where the series
    a - a³/3 + 2a⁵/15 - 17a⁷/315 takes over; its next term is below 1e-8 of a there.
    """
    size = tl.abs(a)
    e = tl.exp(-2.0 * size)
    far = (1.0 - e) / (1.0 + e)
    s = a * a
    near = a * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 - s * (17.0 / 315.0))))
    return tl.where(size < 0.15, near, tl.where(a < 0.0, -far, far))


@triton.jit
def signed_log(a, eps):
    """sign(a) · ln(abs(a) + eps)."""
    return sign(a) * tl.log(tl.abs(a) + eps)


@triton.jit
def signed_root(a, eps):
    """sign(a) · sqrt(abs(a) + eps), to two units in the last place."""
    return sign(a) * tl.sqrt(tl.abs(a) + eps)


@triton.jit
def log_slope(a, eps):
    """The derivative of `signed_log`; 0 at 0."""
    return tl.where(a == 0.0, 0.0, 1.0 / (tl.abs(a) + eps))


@triton.jit
def root_slope(a, eps):
    """The derivative of `signed_root`; 0 at 0."""
    return tl.where(a == 0.0, 0.0, 0.5 * tl.rsqrt(tl.abs(a) + eps))


@triton.jit
def plane_sum(value, here):
    """The sum over each row of a tile, of the values that are `here`."""
    return tl.sum(tl.where(here, value, 0.0), axis=1)


@triton.jit
def folded(value, here, LANES: tl.constexpr):
    """What a tile adds to sums that are kept in LANES columns: itself, or one sum a row where LANES is 1."""
    value = tl.where(here, value, 0.0)
    if LANES == 1:
        value = tl.sum(value, axis=1, keep_dims=True)
    return value


@triton.jit
def joined(mean, square_sum, count, other_mean, other_square_sum, more):
    """Moments of two sets of values as those of one (Chan, Golub and LeVeque 1983).

    Args:
        mean, square_sum: of `count` values: their mean, and the sum of squared deviations from it.
        other_mean, other_square_sum: of `more` others.
    """
    difference = other_mean - mean
    part = more / (count + more)
    return mean + difference * part, square_sum + other_square_sum + square(difference) * count * part


@triton.jit
def merged(mean, square_sum, seen, value, here, last, BLOCK: tl.constexpr, LANES: tl.constexpr):
    """Moments of the positions seen so far, with a tile added.

    With as many columns as the tile has, each takes what it sees (Welford 1962), and nothing passes between threads.

    Args:
        mean, square_sum: (R, LANES): of the `seen` positions of each row, or of those in each column.
        value, here: the tile, and which of its values count.
        last: how many positions there are in all.
        BLOCK: columns of a tile.
        LANES: BLOCK or 1.
    """
    if LANES == 1:
        more = tl.minimum(last - seen, BLOCK) * 1.0
        tile_mean = folded(value, here, LANES) / more
        tile_square_sum = folded(square(value - tile_mean), here, LANES)
        mean, square_sum = joined(mean, square_sum, seen * 1.0, tile_mean, tile_square_sum, more)
    else:
        difference = value - mean
        mean = tl.where(here, mean + difference * (1.0 / (seen // BLOCK + 1)), mean)
        square_sum = tl.where(here, square_sum + difference * (value - mean), square_sum)
    return mean, square_sum


@triton.jit
def moments(mean, square_sum, last, BLOCK: tl.constexpr, LANES: tl.constexpr):
    """The mean and the variance of each row's `last` positions, of what `merged` found."""
    if LANES == 1:
        whole = tl.sum(mean, axis=1)
        square_sum = tl.sum(square_sum, axis=1)
    else:
        count = tl.maximum((last - tl.arange(0, BLOCK)[None, :] + BLOCK - 1) // BLOCK, 0) * 1.0
        whole = tl.sum(mean * count, axis=1) / last
        square_sum = tl.sum(square_sum + count * square(mean - whole[:, None]), axis=1)
    return whole, square_sum / last
