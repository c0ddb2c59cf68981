"""What generated Triton kernels call: the primitives that Triton has not, and the merging of moments.

Everything is float32. Values that are not numbers stay so: a layer that diverges has to be seen to.
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
    """sign(a) · sqrt(abs(a) + eps)."""
    return sign(a) * tl.sqrt_rn(tl.abs(a) + eps)


@triton.jit
def log_slope(a, eps):
    """The derivative of `signed_log`; 0 at 0."""
    return square(sign(a)) / (tl.abs(a) + eps)


@triton.jit
def root_slope(a, eps):
    """The derivative of `signed_root`; 0 at 0."""
    return square(sign(a)) / (2.0 * tl.sqrt_rn(tl.abs(a) + eps))


@triton.jit
def plane_sum(value, here):
    """The sum over each row of a tile, of the values that are `here`."""
    return tl.sum(tl.where(here, value, 0.0), axis=1)


@triton.jit
def merged(mean, square_sum, count, value, here, more):
    """Moments of the rows seen so far, with a tile of `more` values a row added (Chan, Golub and LeVeque 1983).

    Args:
        mean, square_sum: of `count` values: their mean, and the sum of squared deviations from it.
        value, here: the tile, and which of its values count.
        more: how many of them do in each row.
    """
    tile_mean = plane_sum(value, here) / more
    tile_square_sum = plane_sum(square(value - tile_mean[:, None]), here)
    difference = tile_mean - mean
    part = more / (count + more)
    return mean + difference * part, square_sum + tile_square_sum + square(difference) * count * part
