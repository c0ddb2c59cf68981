"""Lists of layers in terminals of any width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from evonas.display.layer_list import LayerList, Line

_NORMALISED = "v0 + v1 * ((x - mean_bwh(sqrt(x))) / std_bwh(sqrt(x)))"
LONG = f"({_NORMALISED}) * sigmoid({_NORMALISED})"
LIST = LayerList(
    ["mean", "200-\nsteps", "mobilenet-\nsmall", "vgg-\nsmall"],
    [
        Line("1/374", ["0.269", "0.352", "0.266", "0.327"], [LONG, "bwh, sublinear"]),
        Line("1/2", ["0.1", "", "0.1", ""]),
    ],
    [Line("evonorm-b0", ["0.204", "", "0.230", "0.175"])],
    "best [bold] layers",
    "a caption",
)


def shown(width: int, listed: LayerList = LIST) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(listed)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_numbers_stand_in_columns_and_the_expression_on_a_line_of_its_own() -> None:
    assert shown(140) == [
        "best [bold] layers",
        "",
        "                     200-  mobilenet-   vgg-",
        " id           mean  steps       small  small",
        "─────────────────────────────────────────────",
        " 1/374       0.269  0.352       0.266  0.327",
        f"    {LONG}",
        "    bwh, sublinear",
        " 1/2           0.1                0.1",
        "",
        " evonorm-b0  0.204              0.230  0.175",
        "a caption",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_no_line_is_too_long_and_nothing_is_lost_in_silence(width: int) -> None:
    lines = shown(width)
    assert max(map(len, lines)) <= width
    text = " ".join(line.strip() for line in lines)
    assert LONG in text.replace("( ", "(") or LONG.replace(" ", "") in text.replace(" ", "")
    assert "1/374" in text and "0.269" in text
    whole = "0.327" in text
    assert whole == (width >= 45)
    assert ("no room for" in text) is not whole
    if width == 40:
        assert "no room for vgg-small: widen the terminal, or use -f json" in text


def test_an_empty_list_has_headings() -> None:
    assert shown(40, LayerList(["mean"], []))[-2:] == [" id  mean", "──────────"]
