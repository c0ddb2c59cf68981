"""What the code never does, read off its sources, and where a Ray that is started here listens."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("evonas", "workers", "kernels", "db", "search_spaces")


def sources() -> list[Path]:
    return sorted({path.resolve() for room in ROOMS for path in (ROOT / room).rglob("*.py")})


def test_nothing_is_unpickled_and_no_shell_is_asked() -> None:
    """`safe_unpickle.py` alone reads pickles, the data sets that are published as such, and runs nothing in them."""
    assert len(sources()) > 80
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
                named = {module.partition(".")[0] for module in modules}
                assert not named & {"marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}, path
                assert "pickle" not in named or path.name == "safe_unpickle.py", path
            if isinstance(node, ast.Call):
                check_call(node, path)


EXECUTES = ("forward_edit.py", "forward_source.py", "plugins.py", "formats.py", "scriptable.py")
"""What torch.fx writes of a module that this process already runs, and the source of its methods; files that a user
names in a command; and what `to_torch` writes of a graph, which `check_generated` looks at above."""


def check_call(node: ast.Call, path: Path) -> None:
    function, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
    runs = ("eval", "exec", "compile") if path.name not in EXECUTES else ()
    assert function not in (*runs, "os.system", "os.popen", "__import__"), (path, node.lineno)
    assert keywords.get("shell", "False") == "False", (path, node.lineno)
    if function.endswith("torch.load"):
        assert keywords.get("weights_only") == "True", (path, node.lineno)
    if function in ("np.load", "numpy.load"):
        assert keywords.get("allow_pickle") == "False", (path, node.lineno)
    # Statements are built of columns and bound values; what is text is a constant of ours.
    if function.rpartition(".")[2] in ("exec_driver_sql", "text") and path.parent.name in ("db", "migrations"):
        assert not any(isinstance(part, ast.JoinedStr | ast.BinOp | ast.Name) for part in node.args), (
            path,
            node.lineno,
        )


LISTENING = """
import ipaddress, json, os, time
from pathlib import Path
import ray
from evonas.workers.executors.ray_cluster import connect

def family(pid):
    children = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found

def sockets(pids):
    for pid in pids:
        try:
            names = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        yield from (name[8:-1] for name in names if name.startswith("socket:["))

def address(text):
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    found = ipaddress.ip_address(b"".join(words))
    return getattr(found, "ipv4_mapped", None) or found

connect(None, 1)

@ray.remote
class Worker:
    def ready(self):
        return True

worker = Worker.remote()
ray.get(worker.ready.remote())
time.sleep(1)
ours = set(sockets(family(os.getpid())))
found = []
for table in ("tcp", "tcp6", "udp", "udp6"):
    for line in Path("/proc/net", table).read_text().splitlines()[1:]:
        words = line.split()
        if words[9] in ours and (words[3] == "0A" or table.startswith("udp")):
            host, _, port = words[1].partition(":")
            found.append([str(address(host)), int(port, 16), address(host).is_loopback])
ray.shutdown()
print(json.dumps(found))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks in /proc for what listens")
def test_a_ray_that_is_started_here_listens_on_loopback_alone() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", LISTENING], capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) > 5, "Ray's head, its node, its workers and its dashboard all listen somewhere"
    assert [one for one in found if not one[2]] == []
