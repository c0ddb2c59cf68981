"""The parts of the kernel benchmark that need no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from time import monotonic
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.kernels import correctness, items, networks, row_layers, shapes, tables
from benchmarks.kernels.items import Item
from benchmarks.kernels.preparing import tasks
from benchmarks.kernels.rows import Rows, read
from benchmarks.kernels.supervising import Effort, measure
from evonas.kernels.triton.run import TritonLayer
from evonas.language.zoo import zoo
from evonas.layers.add_norm import AddNorm
from evonas.layers.norm_act import NormAct
from evonas.workers.anchors import resnet

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


# Not in bfloat16, which Triton's interpreter cuts off where a GPU rounds.
@pytest.mark.parametrize(("dtype", "last"), [(torch.float32, False), (torch.float16, True)])
@pytest.mark.parametrize("training", [True, False])
def test_kernels_that_are_right_have_no_faults(dtype: torch.dtype, last: bool, training: bool) -> None:
    graph, shape = zoo["evonorm-b0"], (2, 6, 5, 3)
    assert correctness.check(graph, shape, dtype, training=training, channels_last=last, device="cpu") == []


def test_a_cell_of_one_value_is_allowed_what_rounding_makes_of_it() -> None:
    assert correctness.check(zoo["gn-relu"], (2, 32, 1, 1), device="cpu") == []


@pytest.mark.parametrize(("factor", "dtype"), [(1.001, torch.float32), (1.01, torch.float16)])
def test_kernels_that_are_wrong_have(factor: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = TritonLayer.forward

    def wrong(self: TritonLayer, *arguments: object) -> object:
        y, stats = forward(self, *arguments)  # type: ignore[arg-type]  # handed on as they came
        return y * factor, stats

    monkeypatch.setattr(TritonLayer, "forward", wrong)
    (fault,) = correctness.check(zoo["evonorm-s0"], (2, 64, 14, 14), dtype, device="cpu")
    assert fault.startswith("y is off by ")


def test_kernels_whose_output_is_no_number_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = TritonLayer.forward

    def wrong(self: TritonLayer, *arguments: object) -> object:
        y, stats = forward(self, *arguments)  # type: ignore[arg-type]  # as above
        y[0, 0, 0, 0] = torch.nan
        return y, stats

    monkeypatch.setattr(TritonLayer, "forward", wrong)
    (fault,) = correctness.check(zoo["evonorm-s0"], (2, 6, 5, 3), device="cpu")
    assert fault.startswith("y is off by nan") and fault.endswith("in 1 values")


@pytest.mark.parametrize("of_sum", [False, True])
@pytest.mark.parametrize("layer", row_layers.LAYERS)
def test_kernels_of_rows_that_are_right_have_no_faults(layer: str, of_sum: bool) -> None:
    assert correctness.check_rows(layer, 24, 5, torch.float32, of_sum=of_sum, device="cpu") == []


@pytest.mark.parametrize(("kind", "wrongs"), [(NormAct, {"y"}), (AddNorm, {"y", "r"})])
def test_kernels_of_rows_that_are_wrong_have(
    kind: type[NormAct], wrongs: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = kind.forward

    def wrong(self: NormAct, *x: torch.Tensor) -> object:
        found = forward(self, *x)
        if self.backend == "reference":
            return found
        return tuple(1.01 * t for t in found) if isinstance(found, tuple) else 1.01 * found

    monkeypatch.setattr(kind, "forward", wrong)
    faults = correctness.check_rows("layernorm", 24, 5, torch.float32, of_sum=kind is AddNorm, device="cpu")
    assert wrongs <= {fault.split()[0] for fault in faults}


def test_shapes_are_those_of_the_networks() -> None:
    assert (128, 256, 56, 56) in shapes.resnet50() and (128, 960, 7, 7) in shapes.mobilenetv2()
    assert set(shapes.MAIN[:-1]) < set(shapes.resnet50())
    largest = max(b * c * h * w for b, c, h, w in (*shapes.resnet50(), *shapes.mobilenetv2()))
    assert largest == 128 * 96 * 112 * 112


def test_items_have_names_of_their_own_and_the_most_important_come_first() -> None:
    all_of_them = list(items.items())
    keys = [item.key for item in all_of_them]
    assert len(set(keys)) == len(keys) and {item.part for item in all_of_them} == set(items.PARTS)
    assert keys[:2] == ["machine", "prepare"]
    main = [item for item in all_of_them if item.part == "layers"][: len(shapes.MAIN) * len(items.LAYERS)]
    assert {(item.given["dtype"], item.given["format"]) for item in main} == {("bfloat16", "nhwc")}
    assert keys.index(main[-1].key) < keys.index(next(k for k in keys if k.startswith("networks")))


@pytest.mark.parametrize("of_sum", [False, True])
@pytest.mark.parametrize("layer", row_layers.LAYERS)
def test_contenders_on_rows_compute_the_same(layer: str, of_sum: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_layers, "VALUES", 96)
    given = {"layer": layer, "width": 24, "dtype": "float32", "sum": of_sum}
    x, residual, *gradients = row_layers.inputs(given, "cpu")
    found = {}
    for way in row_layers.ways(given):
        forward, _ = row_layers.contender(way, given, "cpu")
        values = forward(x, residual)
        assert len(values) == 1 + of_sum
        found[way] = (*values, *torch.autograd.grad(values, [x, residual], gradients[: len(values)], allow_unused=True))
    assert ("nn.LayerNorm or nn.RMSNorm" in found) == (layer in ("layernorm", "rmsnorm-c"))
    for values in found.values():
        torch.testing.assert_close(values, found["eager"], rtol=1e-4, atol=1e-5)


def test_what_is_prepared_is_what_is_measured_and_correctness() -> None:
    assert {"width" in task.given for task in tasks(["rows"])} == {True}
    assert "layers" in {task.part for task in tasks(["networks"])}  # the kernels that a network runs
    prepared = list(tasks(["layers", "compiled", "networks"]))
    assert {task.part for task in prepared} == {"layers", "compiled", "networks", "correctness"}
    checked = [task.given for task in prepared if task.part == "correctness"]
    assert [c for c in checked if "random" in c] == checked[-items.RANDOM_GRAPHS :]
    cases = {(c["layer"], c["dtype"], c["format"], c["training"]) for c in checked if "format" in c and "layer" in c}
    assert len(cases) == 3 * 2 * 2 * (len(zoo) + 1)


def test_the_random_graphs_are_the_same_every_time() -> None:
    one, two = ([(label, g.key) for label, g in correctness.random_graphs(6)] for _ in range(2))
    assert one == two and len(one) == 6


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.kernels", "-o", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={"CUDA_VISIBLE_DEVICES": ""}
    )
    assert done.returncode == 1 and "PyTorch finds no GPU" in done.stderr and "Traceback" not in done.stderr


def test_a_step_of_a_network_is_printed_with_its_memory_where_that_is_known() -> None:
    row = {"key": "networks / x", "part": "networks", "step": 0.0312}
    assert tables.printed(row) == "networks / x: 31.2 ms a step"
    assert tables.printed({**row, "peak_bytes": 2**30}) == "networks / x: 31.2 ms a step, 1.0 GiB"


@pytest.mark.parametrize(("layer", "way"), [("batchnorm", "eager"), ("evonorm-s0", "eager"), ("evonorm-s0", "ours")])
def test_a_step_trains_the_network(layer: str, way: str) -> None:
    step = networks.training_step(layer, way, "cpu", torch.bfloat16, batch=2, size=12, config=resnet.RESNET_SMALL)
    network = next(cell.cell_contents for cell in step.__closure__ or () if isinstance(cell.cell_contents, nn.Module))
    before = {name: p.clone() for name, p in network.named_parameters()}
    step()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert [name for name, p in network.named_parameters() if not torch.equal(p, before[name])]


def test_rows_of_other_code_have_a_file_of_their_own_and_half_a_line_is_passed_over(tmp_path: Path) -> None:
    one, other = (Rows(tmp_path, {"machine": "GPU", "sources": digest, "commit": None}) for digest in ("a", "b"))
    one.add({"key": "x", "seconds": 1.0})
    assert one.path != other.path and [row["key"] for row in other] == ["identity"]
    with one.path.open("a") as file:
        file.write('{"key": "y", "sec')  # as a kill leaves it
    again = Rows(tmp_path, {"machine": "GPU", "sources": "a", "commit": "known now"})
    again.add({"key": "z"})
    assert [row["key"] for row in read(one.path)] == ["identity", "x", "z"]


WORKER = """
import json, os, sys, time
for line in sys.stdin:
    order = json.loads(line)
    print(json.dumps({"begin": order["key"]}), flush=True)
    if "hangs" in order["key"]:
        time.sleep(60)
    if "dies" in order["key"]:
        os._exit(7)
    if order["key"] == "prepare":
        print(json.dumps({"row": {"key": "a check", "part": "correctness", "wrong": []}}), flush=True)
    row = {"key": order["key"], "process": os.getpid(), "repeats": order["repeats"]}
    print(json.dumps({"row": row}), flush=True)
"""


def supervised(folder: Path, names: list[str], seconds: float = 60.0) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a run that measures items with such names, and the items that it did not begin."""
    rows = Rows(folder, {"machine": "none"})
    wanted = [Item(name, limit=0.5 if "hangs" in name else 30.0) for name in names]
    shown: list[dict[str, Any]] = []
    left = measure(
        wanted,
        rows,
        Effort(deadline=monotonic() + seconds, repeats=3, processes=1),
        on_row=shown.append,
        command=(sys.executable, "-c", WORKER),
    )
    return shown, [item.key for item in left]


def test_an_item_that_hangs_or_ends_its_process_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.kernels.supervising._START", 3.0)
    shown, left = supervised(tmp_path, ["prepare", "one", "dies", "two", "hangs", "three"])
    assert [row["key"] for row in shown] == ["a check", "prepare", "one", "dies", "two", "hangs", "three"]
    found = {row["key"]: row for row in shown}
    assert found["dies"]["failed"] == "the process ended with 7 within 30 s"
    assert found["hangs"]["failed"].startswith("took longer than")
    assert found["one"]["process"] != found["two"]["process"] != found["three"]["process"] and not left
    # The same command goes on where this one stopped.
    shown, left = supervised(tmp_path, ["one", "dies", "four"])
    assert [row["key"] for row in shown] == ["four"] and not left


def test_when_the_time_is_up_nothing_more_is_begun_and_what_runs_has_no_row(tmp_path: Path) -> None:
    shown, left = supervised(tmp_path, ["hangs for long", "never"], seconds=0.6)
    assert shown == [] and left == ["hangs for long", "never"]
    assert supervised(tmp_path, ["never"], seconds=-1.0) == ([], ["never"])


def row(layer: str, size: int, ours: float, other: float, share: float) -> dict[str, Any]:
    """A row as `layers` has it."""
    case = {"layer": layer, "shape": [1, 1, size, 1], "dtype": "bfloat16", "format": "nhwc", "bytes_of_x": 1e8}
    times = {
        "ours": {"forward": ours, "both": 2 * ours, "share_forward": share, "share_both": share},
        tables.NATIVE: {"forward": other, "both": 3 * other, "share_forward": 0.1, "share_both": 0.1},
    }
    return {"key": f"{layer} {size}", "part": "layers", **case, **times}


def test_means_are_geometric_and_every_layer_is_held_to_the_same_batch_normalisation() -> None:
    rows = [row("bn-relu", 1, 1.0, 2.0, 0.8), row("bn-relu", 2, 1.0, 8.0, 0.2)]
    without = row("evonorm-s0", 1, 0.5, 0.0, 0.9)
    del without[tables.NATIVE]
    bn, s0 = tables.means({"layers": [*rows, without]})
    assert bn["faster_forward"][tables.NATIVE] == pytest.approx({"mean": 4.0, "least": 2.0})
    assert bn["faster_both"][tables.NATIVE] == pytest.approx({"mean": 6.0, "least": 3.0})
    assert bn["shares_forward"] == pytest.approx(0.4) and bn["shapes"] == 2
    assert s0["faster_forward"][tables.NATIVE]["mean"] == pytest.approx(4.0)


def test_what_was_wrong_or_failed_is_in_the_summary() -> None:
    rows = [
        {"key": "identity", "machine": "GPU"},
        {"key": "c1", "part": "correctness", "wrong": []},
        {"key": "c2", "part": "correctness", "wrong": ["y is off by 1"]},
        {"key": "host", "part": "host", "failed": "took longer than 3 s"},
    ]
    found = tables.summary(rows)
    assert found["checked"] == 2 and found["wrong"] == {"c2": ["y is off by 1"]}
    assert found["failed"] == {"host": "took longer than 3 s"} and found["identity"]["machine"] == "GPU"
    assert json.loads(tables.text({"a": [{"x": 1.23456}], "b": None})) == {"a": [{"x": 1.235}], "b": None}


@pytest.mark.parametrize(
    ("file", "machine", "checked"),
    [
        ("kernels_h200_before.json", "NVIDIA H200", 208),
        ("kernels_h200.json", "NVIDIA H200", 208),
        ("kernels_h100.json", "NVIDIA H100 80GB HBM3", 328),
        ("kernels_h100_rows.json", "NVIDIA H100 80GB HBM3", 108),
    ],
)
def test_recorded_rows_read_as_lines(file: str, machine: str, checked: int) -> None:
    document = json.loads((RESULTS / file).read_text())
    assert document["identity"]["machine"] == machine and document["checked"] == checked
    for part in items.PARTS:
        for one in document.get(part, []):
            if part != "variants":  # what is tried there changes with the kernels
                assert tables.printed(one).startswith(one["key"])


def test_the_page_says_what_was_measured() -> None:
    text = " ".join((ROOT / "docs" / "SPEED.md").read_text().split())
    document, other = (json.loads((RESULTS / f"kernels_{gpu}.json").read_text()) for gpu in ("h100", "h200"))
    assert document["wrong"] == {} and document["failed"] == {}
    means = {(m["layer"], m["dtype"], m["format"]): m for m in document["means"]}
    for layer in items.LAYERS:
        last, first = means[layer, "bfloat16", "nhwc"], means[layer, "bfloat16", "nchw"]
        assert last["shapes"] == first["shapes"] == len(shapes.MAIN)
        eager, *ratios = (last["faster_both"][way]["mean"] for way in ("eager", "compiled", tables.NATIVE))
        ratios.append(means[layer, "float16", "nhwc"]["faster_both"][tables.NATIVE]["mean"])
        cells = " | ".join(f"{ratio:.2f}" for ratio in ratios)
        assert f"| `{layer}` | {last['shares_both']:.0%} | {first['shares_both']:.0%} | {eager:.1f} | {cells} |" in text
    shares = [m["shares_both"] for m in other["means"] if (m["dtype"], m["format"]) == ("bfloat16", "nhwc")]
    assert f"the same kernels reach {min(shares):.0%} to {max(shares):.0%}" in text
    networks, elsewhere = ({(row["layer"], row["way"]): row for row in d["networks"]} for d in (document, other))
    for layer, way in (
        *(("batchnorm", way) for way in ("eager", "compiled")),
        *((layer, "ours") for layer in items.LAYERS),
        ("evonorm-s0", "ours, compiled"),
    ):
        assert f"{1e3 * networks[layer, way]['step']:.1f} ms" in text
    eager, ours = (
        f"{1e3 * elsewhere[case]['step']:.1f} ms" for case in (("batchnorm", "eager"), ("evonorm-s0", "ours"))
    )
    assert f"{eager} with batch normalisation, {ours} with `evonorm-s0`" in text
    for recorded in (networks, elsewhere):
        peaks = {case: row["peak_bytes"] / 2**30 for case, row in recorded.items()}
        assert f"{max(peaks[layer, 'ours'] for layer in items.LAYERS):.2f} GiB" in text
        assert f"normalisation at {peaks['batchnorm', 'eager']:.2f}." in text
    again = {
        (r["layer"], r["way"]): r for r in json.loads((RESULTS / "kernels_h100_rows.json").read_text())["networks"]
    }
    steps = [f"{1e3 * again[case]['step']:.1f}" for case in (("batchnorm", "eager"), *_in_order(items.LAYERS))]
    assert f"had {', '.join(steps[:-1])} and {steps[-1]} ms" in text
    assert f"alone needs {1e3 * again['batchnorm', 'graph']['step']:.1f} ms" in text
    assert f"the last layer took {1e3 * networks[items.LAYERS[-1], 'ours']['fastest']:.1f} ms" in text
    backends = document["machine"][0]["batch_norm"]
    assert (backends["bfloat16"], backends["float16"]) == ("Native", "Cudnn")


def _in_order(layers: Sequence[str]) -> list[tuple[str, str]]:
    """Our ways of a network in the order in which the page names them."""
    first, *others = layers
    return [(layer, "ours") for layer in (*others, first)]


def test_the_page_says_what_was_measured_of_rows_on_a_gpu() -> None:
    text = " ".join((ROOT / "docs" / "SPEED.md").read_text().split())
    document = json.loads((RESULTS / "kernels_h100_rows.json").read_text())
    assert document["wrong"] == {} and document["failed"] == {}
    for layer in row_layers.LAYERS:
        for of_sum in (False, True):
            rows = [r for r in document["rows"] if r["layer"] == layer and r["sum"] == of_sum]
            eager, compiled = ([r for r in rows if ("mode" in r) == mode] for mode in (False, True))
            if not rows:
                continue
            assert len(eager) == len(row_layers.WIDTHS) and len(compiled) == 2
            passes = ("forward", "both")
            shares = [geometric_mean(r["ours"][f"share_{way}"] for r in eager) for way in passes]
            cells = [f"{shares[0]:.0%}, {shares[1]:.0%}"]
            for other, of in ((row_layers.NATIVE_NORM, eager), ("compiled", compiled)):
                ratios = [
                    f"{geometric_mean(r[other][w] / r['ours'][w] for r in of):.2f}" for w in passes if other in of[0]
                ]
                cells.append(", ".join(ratios))
            line = " | ".join((f"`{layer}`{' of a sum' * of_sum}", *cells))
            assert f"| {line} |".replace("|  |", "| |") in text


@pytest.mark.slow
def test_the_check_as_a_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.kernels", "--device", "cpu", "--minutes", "1", "-o", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (file,) = tmp_path.glob("rows-*.jsonl")
    checks = [row for row in read(file) if row["key"] != "identity"]
    assert checks and all(row["wrong"] == [] for row in checks)
