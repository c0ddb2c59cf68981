"""Exported files: they are run without evonas and compared with NormAct; their content; and the writing of files."""

import ast
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

from evonas.errors import UsageError
from evonas.kernels.export import torch_helpers
from evonas.kernels.export.layer_file import export_layer
from evonas.kernels.export.torch_source import to_torch
from evonas.language.graph import FIRST, Graph, Node, X
from evonas.language.primitive_table import PRIMITIVES, IndexSet, Moment
from evonas.language.zoo import zoo
from evonas.layers.norm_act import NormAct
from evonas.layers.reference import evaluate, raw_moment
from tests.exercise import exercise
from tests.strategies import seeded_graphs

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = {"groups": 4, "eps": 1e-4, "momentum": 0.2}  # 4 groups of 6 channels are lowered to 3
SHAPE = (4, 6, 5, 3)
SMALL = [(1, 6, 1, 1), (2, 1, 3, 2), (1, 1, 1, 1)]
RANDOM_GRAPHS = 25
PARTICULAR = {
    "input": Graph((), 0),
    "v0": Graph.parse("v0"),
    "zero": Graph.parse("0"),
    "narrow": Graph.parse("x * std_bwh(v1) + mean_bwh(mean_wh(x)) + rms_bwh(v0) + std_whcg(v1 + 0) * std_whcg(exp(0))"),
    "many": Graph.parse("-((x - mean_bwh(x)) / std_bwh(x)) + v1 - (-x - std_bwh(x * x)) / rms_bwh(x) - rms_whcg(x)"),
    "shared neg": Graph.parse("(v1 - x) * tanh(-x) + mean_whcg(x * x)"),
    "neg of neg": Graph.parse("-(-x) - -sigmoid(x)"),
}
CHILD = """
import importlib.util, sys, torch
sys.modules["evonas"] = None  # whatever is installed, importing it fails
torch.set_num_threads(1)
def load(path):
    spec = importlib.util.spec_from_file_location("loaded", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
exercise = load(sys.argv[1]).exercise
jobs = torch.load(sys.argv[2])
classes = {path: load(path).Layer for path in {job["path"] for job in jobs}}
torch.save([exercise(classes[j["path"]](**j["init"]), *j["run"]) for j in jobs], sys.argv[3])
"""


def randomised(layer: NormAct) -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(3)
    return {
        name: torch.rand(v.shape, generator=source, dtype=torch.float64).to(v.dtype) + 0.5
        for name, v in layer.state_dict().items()
    }


def prepared(graph: Graph, shape=SHAPE, dtype=torch.float64, channels_last=False, **changes):
    """The arguments of the layer and of `exercise`, and the results of NormAct."""
    kept = torch.float64 if dtype == torch.float64 else torch.float32
    init = {"channels": shape[1], **SETTINGS, "dtype": kept, **changes}
    layer = NormAct(graph, **init)
    run = (randomised(layer), shape, dtype, channels_last)
    return {"init": init, "run": run}, exercise(layer, *run)


def in_a_fresh_interpreter(jobs, folder: Path):
    """The results of `exercise` for the file of each job, in an interpreter without evonas."""
    torch.save(jobs, folder / "jobs.pt")
    exercise_file = str(Path(__file__).with_name("exercise.py"))
    command = [sys.executable, "-I", "-c", CHILD, exercise_file, str(folder / "jobs.pt"), str(folder / "seen.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "seen.pt")


def is_tame(graph: Graph) -> bool:
    """Whether a graph depends on x, is finite, and is so well conditioned that float32 gives four digits."""
    if X not in graph.canonical.live:
        return False
    exact, single = (prepared(graph, dtype=dtype)[1] for dtype in (torch.float64, torch.float32))
    return all(bool(v.isfinite().all()) for v in exact.values()) and all(
        float((single[k] - exact[k]).abs().max()) <= 1e-4 * float(exact[k].abs().max()) + 1e-6 for k in exact
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(label, expected, observed, dtype, graph, init) of every case; one interpreter runs all files."""
    folder = tmp_path_factory.mktemp("exported")
    random = (item for item in seeded_graphs(2000) if is_tame(item[1]))
    drawn = dict(islice(random, RANDOM_GRAPHS))
    graphs = {**zoo, **PARTICULAR, **drawn}
    jobs, cases = [], []
    for number, (label, graph) in enumerate(graphs.items()):
        path = str(export_layer(graph, folder / f"layer_{number}.py"))
        variants = [{}, {"dtype": torch.bfloat16}]
        if label in zoo:
            variants += [{"channels_last": True}, {"affine": False}, *({"shape": s} for s in SMALL)]
        for variant in variants:
            job, expected = prepared(graph, **variant)
            jobs.append({"path": path, **job})
            cases.append((f"{label} {variant}", expected, variant.get("dtype", torch.float64), graph, job["init"]))
    observed = in_a_fresh_interpreter(jobs, folder)
    assert len(drawn) == RANDOM_GRAPHS
    return [(*case, seen) for case, seen in zip(cases, observed, strict=True)]


def test_exported_files_give_what_norm_act_gives(compared):
    for label, expected, dtype, _, _, observed in compared:
        assert observed.keys() == expected.keys(), label
        for name, value in expected.items():
            # Sums in another order differ by some 1e-16 of their terms, which the gradients of divisions by
            # small statistics enlarge. Half types are computed in float32, where cases were chosen to be
            # good for 1e-4, and rounded: one step of bfloat16 is 2^-7 of a value, at the coarsest. Gradients that
            # are 0 in mathematics are sums of terms of size 1 that cancel: hence the absolute parts.
            exact = dtype == torch.float64
            scale = float(value.abs().max())
            rtol, atol = (1e-9, 1e-11 * (1 + scale)) if exact else (2.0**-7, 1e-3 * scale + 1e-4)
            assert observed[name].dtype == value.dtype, (label, name)
            error = (observed[name].double() - value.double()).abs()
            # Not `all(error <= …)`: an error that is not a number counts as well.
            assert not bool((~(error <= atol + rtol * value.double().abs())).any()), (label, name, error.max(), scale)


def test_states_of_exported_layers_load_into_norm_act(compared):
    for label, _, _, graph, init, observed in compared:
        state = {name.removeprefix("final "): v for name, v in observed.items() if name.startswith("final ")}
        NormAct(graph, **init).load_state_dict(state)
        assert list(state) == list(NormAct(graph, **init).state_dict()), label


def row_value(op, args, dtype, running=None):
    """The value of a row's source, evaluated as in an exported file, and its gradients."""
    layer = torch_helpers.Tracking()
    layer.momentum = 0.1
    names = dict(zip("ab", args, strict=False))
    text = op.source.format(*names, eps="1e-5", groups="2", running="running", count="24")
    value = eval(text, {**vars(torch_helpers), **names, "self": layer, "running": running})
    return value, torch.autograd.grad(value.sum(), args)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("op", [op for op in PRIMITIVES.values() if not op.is_aggregation], ids=lambda op: op.name)
def test_source_of_an_elementwise_row_is_its_evaluation(op, dtype):
    edge = [0.0, -0.0, 1e-5, -1e-5, 9e-6, -9e-6, 1.0, -1.0, float("inf"), -float("inf"), float("nan")]
    values = torch.cat([torch.tensor(edge, dtype=dtype), torch.linspace(-3.0, 3.0, 20, dtype=dtype)])
    grid = torch.meshgrid(*[values] * op.arity, indexing="ij")
    args = [g.flatten().requires_grad_() for g in grid]
    expected = op.evaluate(*args, eps=1e-5)
    gradients = torch.autograd.grad(expected.sum(), args)
    value, observed = row_value(op, args, dtype)
    # Scaled to the type: the two spellings may differ in the order of a multiplication.
    near = {"rtol": 4 * torch.finfo(dtype).eps, "atol": 0.0, "equal_nan": True}
    torch.testing.assert_close(value, expected, **near)
    # Where the value is infinite or no number, training is lost, and gradients mean nothing.
    known = expected.isfinite()
    for a, b in zip(observed, gradients, strict=True):
        torch.testing.assert_close(a[known], b[known], **near)


@pytest.mark.parametrize("op", [op for op in PRIMITIVES.values() if op.is_aggregation], ids=lambda op: op.name)
@pytest.mark.parametrize("shape", [(2, 4, 3, 2), (2, 4, 1, 1), (1, 4, 1, 1), (1, 1, 1, 1), (2, 1, 3, 2)])
def test_source_of_a_statistic_is_its_evaluation(op, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    assert isinstance(op.moment, Moment)
    raw = raw_moment(op.moment, IndexSet(op.index_set), x, groups=min(2, shape[1]))
    expected = raw if op.moment is Moment.MEAN else torch.sqrt(raw + 1e-5)
    (gradient,) = torch.autograd.grad(expected.sum(), x)
    if shape[1] > 1:
        row = evaluate(Graph((Node(op.name, (0,)),), FIRST), x, groups=2)
        torch.testing.assert_close(expected.expand(shape), row)
    value, (observed,) = row_value(op, [x], x.dtype, running=torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(observed, gradient, rtol=1e-9, atol=1e-12)


def test_names_of_values_hide_nothing():
    nouns = {op.noun for op in PRIMITIVES.values()} | {"difference"}
    assert all(noun.isidentifier() for noun in nouns)
    assert not nouns & {*vars(torch_helpers), "x", "v0", "v1", "zero", "count", "self"}


@pytest.mark.parametrize("name", ["evonorm-s0", "bn-relu"])
def test_golden(name):
    """To accept a change, run EVONAS_ACCEPT=1 pytest tests/test_export.py -k golden, and read the difference."""
    text = to_torch(zoo[name], "Layer", ["published: Liu et al."], linear=None)
    path = GOLDEN / f"{name.replace('-', '_')}.txt"
    if os.environ.get("EVONAS_ACCEPT"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_files_are_tidy(tmp_path):
    long = "x" + "".join(f" + sigmoid(v1 * x / std_bwh(x * std_bwh({i} * x)))" for i in ["x"] * 25)
    graphs = {**zoo, **PARTICULAR, "long": Graph.parse(long), **dict(seeded_graphs(10))}
    for number, graph in enumerate(graphs.values()):
        for triton in (False, True):
            path = tmp_path / ("kernels" if triton else "plain") / f"layer_{number}.py"
            path.parent.mkdir(exist_ok=True)
            provenance = ["word " * 60, "z" * 300]
            export_layer(graph, path, provenance=provenance, linear=Graph((), 0), triton=triton)
    # Kernels are written as Triton's usually are: capitals for sizes, no docstrings, addresses on one line.
    for folder, ignored in (("plain", ""), ("kernels", ",D103,D417,E501,N803")):
        for command in (
            ["check", "--select=E,F,W,I,UP,B,C4,SIM,RET,N,D,A", "--config=lint.pydocstyle.convention='google'"],
            ["format", "--check"],
        ):
            ignore = [f"--ignore=D105,D107,RET504{ignored}"] if command[0] == "check" else []
            options = ["--isolated", "--line-length=100", "--target-version=py311", *ignore, str(tmp_path / folder)]
            done = subprocess.run([sys.executable, "-m", "ruff", *command, *options], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr


def test_helpers_are_only_those_needed():
    text = to_torch(zoo["dyt"])
    assert "kept_from_zero" not in text
    assert "_batch" not in text
    assert "groups_dividing" not in text


def test_linear_is_a_second_class(tmp_path):
    path = export_layer(zoo["bn-swish"], tmp_path / "l.py", class_name="Swish", linear=Graph.parse("x / std_bwh(x)"))
    scope: dict[str, object] = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    assert set(scope["SwishLinear"](3).state_dict()) == {"weight", "bias", "running_var"}  # type: ignore[operator]
    assert set(scope["Swish"](3).state_dict()) >= {"v0", "v1"}  # type: ignore[operator]


def test_exported_layer_refuses_what_norm_act_refuses():
    scope: dict[str, type] = {}
    exec(to_torch(zoo["evonorm-s0"]), scope)
    for bad in (
        {"channels": 0},
        {"channels": 4, "groups": 0},
        {"channels": 4, "momentum": 2},
        {"channels": 4, "eps": 0},
    ):
        with pytest.raises(ValueError, match="positive"):
            scope["Layer"](**bad)
    for shape in ((1, 5, 2, 2), (4, 3), (4,), (2, 4, 1, 1, 1, 1)):
        with pytest.raises(ValueError, match=r"expected shape \(b, 4, ...\)"):
            scope["Layer"](4)(torch.zeros(shape))


HOSTILE = [
    '"""\nimport os  # ', '\\"""', "'''", "\\", '"', '""', "a\nb\r\n\x00\x1b[31m\x7f\x85\u2028", "\u202eevil\u2066",
    "{name} {0} %s", "\ud800", "\\N{BULLET} \\u12 \\x", '"""' * 50, "é – ß 数", "#", "\t\f\v", "x" * 500 + '\\"""',
]  # fmt: skip


def code_of(text: str) -> str:
    tree = ast.parse(text)
    assert isinstance(tree.body[0], ast.Expr)  # the docstring
    return ast.dump(ast.Module(tree.body[1:], []))


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_provenance_stays_text(text, tmp_path):
    clean = code_of(to_torch(zoo["dyt"], triton=True))
    for provenance in ([text], {text: text}, text):
        path = export_layer(zoo["dyt"], tmp_path / "layer.py", provenance=provenance, scores={text: 0.5}, force=True)
        written = path.read_bytes().decode("utf-8")
        assert code_of(written) == clean
        assert all(c.isprintable() or c == "\n" for c in written)


@pytest.mark.parametrize(
    "name",
    ["", "1a", "a b", "class", "None", "a\n", "x;import os", "A(B)", "Tensor", "torch", "super", "__debug__",
     "per_channel", "ﬁeld", "𝐋ayer", None, 3, "x" + "\u202e", "../Layer", "a/b", "Layer.py", "write", "tl", "jit",
     "PASSES", "await"],
    ids=ascii,
)  # fmt: skip
def test_bad_class_names_are_refused(name, tmp_path):
    with pytest.raises(UsageError, match="class"):
        export_layer(zoo["dyt"], tmp_path / "layer.py", class_name=name)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_without_force(tmp_path):
    path = tmp_path / "layer.py"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists; use --force"):
        export_layer(zoo["dyt"], path)
    assert path.read_text() == "mine"
    export_layer(zoo["dyt"], str(path), force=True)
    assert path.read_text().startswith('r"""')
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing/layer.py", "does not exist"),
        ("", "is a folder"),
        ("a\0b", "cannot write"),
        ("n" * 300, "cannot write"),
    ],
)
def test_bad_places_are_refused(path, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        export_layer(zoo["dyt"], tmp_path / path, force=True)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "layer.py"
    path.write_text("mine")

    def fail(self, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(UsageError, match=r"cannot write .*Permission denied"):
        export_layer(zoo["dyt"], path, force=True)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]
