"""The axes of an input, the sets of them that aggregations reduce, and which of them a value varies over.

An input has samples b, channels c, which are divided into groups, and positions: height and width of an image, or the
places of a sequence. All positions of a channel of a sample are its plane. Most index sets are unions of whole planes.
Two are not: `c` and `cg` reduce the channels at each position, as the normalisations of transformers do.
"""

from __future__ import annotations

from enum import Enum, Flag


class IndexSet(Enum):
    """The axes that an aggregation reduces; b, w, h, c are batch, width, height and channel.

    Values are the suffix of an aggregation's name. `WHCG` and `CG` reduce the channels of one group.
    """

    BWH = "bwh"
    WHC = "whc"
    WH = "wh"
    WHCG = "whcg"
    C = "c"
    CG = "cg"


class Extent(Flag):
    """The axes that a value varies over.

    `CHANNEL` is made of `GROUP`, which group of channels it is, and `MEMBER`, which channel of the group. Every bit has
    a name of its own, because the complement of a flag drops bits without a name.
    """

    NONE = 0
    GROUP = 1
    MEMBER = 2
    CHANNEL = 3
    BATCH = 4
    PLANE = 8
    FULL = 15


REMOVES: dict[IndexSet, Extent] = {
    IndexSet.BWH: Extent.BATCH | Extent.PLANE,
    IndexSet.WHC: Extent.CHANNEL | Extent.PLANE,
    IndexSet.WH: Extent.PLANE,
    # The channels of a group are averaged, but the result still depends on the group.
    IndexSet.WHCG: Extent.MEMBER | Extent.PLANE,
    IndexSet.C: Extent.CHANNEL,
    IndexSet.CG: Extent.MEMBER,
}
"""The axes that a value no longer varies over after an aggregation, by its index set."""
