"""Clusters made by `ray start`, from a user's view: addresses, tokens, jobs, and refusals."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from evonas.db.connect import open_store
from evonas.records.run_info import RunStatus
from tests.test_executors import PATIENCE

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Head(NamedTuple):
    """The head of a cluster: its address, the address of its dashboard, and the environment that reaches it."""

    address: str
    dashboard: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """`ray start --head` on loopback, with the token that a user has from an earlier Ray."""
    place = Path("/tmp") / f"evonas-ray-{os.getpid()}"  # sockets are in it, whose paths have to be short
    (place / ".ray").mkdir(parents=True)
    (place / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    gcs, dashboard = free_port(), free_port()
    environment = {
        **os.environ,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HOME": str(place),
        "RAY_TMPDIR": str(place),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        environment.pop(name, None)
    command = [*RAY, "start", "--head", "--block", "--port", str(gcs), "--node-ip-address", "127.0.0.1"]
    command += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard), "--num-cpus", "2"]
    command += ["--dashboard-agent-listen-port", str(free_port())]
    log = (place / "log").open("w")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + PATIENCE
        while "Ray runtime started" not in (place / "log").read_text():
            assert process.poll() is None and time.monotonic() < end, (place / "log").read_text()
            time.sleep(0.5)
        yield Head(f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", environment)
    finally:
        process.terminate()
        process.wait(60)


RAY = [sys.executable, "-m", "ray.scripts.scripts"]
SMALL = ["--steps", "2", "--budget", "3", "--anchor", "resnet-small", "--set", "deadline=600.0", "--no-verify"]
SMALL += ["--data", "digits", "--set", "protocol.floors=absolute", "--set", "protocol.quality_floor=0.0"]
SMALL += ["--set", "protocol.early_steps=[]", "--set", "protocol.early_floors=[]"]


def test_a_job_of_ray_searches_on_its_cluster(head: Head, tmp_path: Path) -> None:
    """As in the guide: no address is needed, because Ray sets it for its jobs."""
    dashboard, environment = head.dashboard, {**head.environment, "RAY_AUTH_MODE": "token"}
    path = tmp_path / "runs.db"
    job = [*RAY, "job", "submit", "--address", dashboard, "--", "evonas", "search", *SMALL, "--storage", str(path)]
    done = subprocess.run(job, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run 1, finished: 3 judged" in done.stdout
    with open_store(str(path), read_only=True) as store:
        assert store.run(1).status is RunStatus.FINISHED and store.summary(1).evaluations == 3
    listed = [*RAY, "list", "actors", "--address", dashboard, "--limit", "1000", "--format", "json"]
    seen = subprocess.run(listed, env=environment, capture_output=True, text=True, timeout=100, check=True).stdout
    assert '"name": "evonas worker 1"' in seen and '"name": "evonas worker 2"' in seen


@pytest.mark.parametrize("address", ["auto", "given"])
def test_an_address_joins_the_cluster(address: str, head: Head, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    command = [sys.executable, "-m", "evonas", "search", *SMALL, "--storage", str(path), "--workers", "3"]
    command += ["--ray-address", head.address if address == "given" else address]
    # Ray sends a token to an address only on request.
    environment = head.environment if address == "auto" else {**head.environment, "RAY_AUTH_MODE": "token"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "3 workers were asked for, each with 1 CPU, and 2 of them fit now (1 node with 2 CPUs)" in said
    with open_store(str(path), read_only=True) as store:
        assert store.summary(1).evaluations == 3


def test_a_cluster_that_asks_for_a_token_says_so(head: Head, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evonas", "search", "--ray-address", head.address]
    command += ["--storage", str(tmp_path / "runs.db")]
    done = subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 2, done.stderr
    assert "if it asks for a token, set RAY_AUTH_MODE=token" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at"),
        ("http://127.0.0.1:8265", "a Ray address is HOST:PORT or 'auto', not"),
        ("ray://127.0.0.1:10001", "is an address for Ray Client, under which a search would end when the connection"),
    ],
)
def test_an_address_where_nothing_is_ends_at_once(address: str, says: str, tmp_path: Path) -> None:
    environment = {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "evonas", "search", "--ray-address", address, "--storage", str(tmp_path / "a.db")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2 and says in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stderr


def test_auto_without_a_cluster_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Ray's own search for a cluster, which might find one that others run on this machine."""
    from evonas.errors import UsageError
    from evonas.workers.executors import ray_cluster

    def found(address: str) -> str:
        raise ConnectionError("Could not find any running Ray instance.\nPlease specify the one to connect to")

    monkeypatch.setattr(ray_cluster, "canonicalize_bootstrap_address_or_die", found)
    with pytest.raises(UsageError, match=r"no Ray cluster answers at auto: Could not find any .* instance\. Please"):
        ray_cluster.connect("auto", 0)
