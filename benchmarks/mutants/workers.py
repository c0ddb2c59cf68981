"""Workers: each has a copy of the project, and a process that runs tests in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, TypeVar

from benchmarks.mutants.sources import copy

HOME = Path(__file__).parents[2]
"""The checkout that contains this package."""


class Worker:
    """A copy of a checkout in which tests are run. As a context manager, it removes the copy at the end.

    Args:
        root: root of the checkout.
        kernels: a folder of kernels that are already built, which tests cannot change.
        patience: seconds that every test may take before it counts as hanging.
    """

    def __init__(self, root: Path, kernels: Path, patience: float = 20.0) -> None:
        self._patience = patience
        self._home = Path(mkdtemp(prefix="mut-")).resolve()
        self._home.chmod(0o755)  # for database servers that run as another user
        self.root, self._kernels, self._built = self._home / "tree", kernels, self._home / "kernels"
        copy(root, self.root)
        path = [str(self.root), str(HOME)]
        if (self.root / "benchmarks").is_dir():  # the checkout may have another version of this package, or none
            own = Path(__file__).parent
            shutil.copytree(own, self.root / "benchmarks" / own.name, dirs_exist_ok=True)
            path.pop()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.mutants.zygote"],
            cwd=self.root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C must reach only the parent process
        )
        try:
            self._read()
        except RuntimeError:
            self.close()
            raise

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that runs tests in {self.root} has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def tests(self, batches: Sequence[Sequence[str]], limit: float, usual: dict[str, float]) -> dict[str, Any]:
        """Run tests until one fails. `zygote.run_request` describes the result."""
        wanted = {name: usual[name] for batch in batches for name in batch if name in usual}
        return self._ask(batches, limit, wanted, None, {"PYTHONDONTWRITEBYTECODE": "1"})

    def lines(self, file: str, include: Sequence[str]) -> dict[str, Any]:
        """Run a test file and record the lines of each test, as `noting.measured` describes. New kernels are kept."""
        answer = self._ask([[file]], 3600.0, {}, include, {})
        self._kernels.mkdir(parents=True, exist_ok=True)
        for path in self._built.rglob("*"):
            kept = self._kernels / path.relative_to(self._built)
            if path.is_file() and not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, kept)
        return answer

    def _ask(
        self,
        batches: Sequence[Sequence[str]],
        limit: float,
        usual: dict[str, float],
        measure: Sequence[str] | None,
        environment: dict[str, str],
    ) -> dict[str, Any]:
        shutil.rmtree(self._built, ignore_errors=True)
        if self._kernels.is_dir():  # hard links, so that a mutant can add kernels without changing existing ones
            shutil.copytree(self._kernels, self._built, copy_function=_link)
        request = {
            "root": str(self.root),
            "place": str(self._home / "t"),
            "log": str(self._home / "log"),
            "environment": {"EVONAS_CACHE": str(self._built), **environment},
            "batches": [list(batch) for batch in batches],
            "limit": limit,
            "usual": usual,
            "patience": self._patience,
            "measure": measure,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return self._read()

    def log(self) -> str:
        """Return the output of the latest tests."""
        path = self._home / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """End the process and its descendants, and remove the copy."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another file system
        shutil.copy2(source, target)


Job = TypeVar("Job")
Found = TypeVar("Found")


def share(
    jobs: Sequence[Job],
    count: int,
    employ: Callable[[], Worker],
    work: Callable[[Worker, Job], Found],
    done: Callable[[Job, Found], None],
) -> None:
    """Distribute jobs over workers, in order. `done` is called in this thread when a job ends.

    An exception in a job, or Ctrl-C, ends all workers and is passed on to the caller.

    Args:
        jobs: the jobs.
        count: number of workers.
        employ: creates a worker.
        work: does one job.
        done: receives a job and its result.
    """
    waiting: Queue[Job] = Queue()
    for job in jobs:
        waiting.put(job)
    ended: Queue[tuple[Job, Found] | BaseException | None] = Queue()
    workers: list[Worker] = []
    over = threading.Event()

    def serve() -> None:
        try:
            worker = employ()
            workers.append(worker)
            with worker:
                while not over.is_set():
                    try:
                        job = waiting.get_nowait()
                    except Empty:
                        break
                    ended.put((job, work(worker, job)))
            ended.put(None)
        except BaseException as error:
            ended.put(error)

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(max(1, min(count, len(jobs))))]
    for thread in threads:
        thread.start()
    left = len(threads)
    try:
        while left:
            found = ended.get()
            if found is None:
                left -= 1
            elif isinstance(found, BaseException):
                raise found
            else:
                done(*found)
    finally:
        over.set()
        for worker in list(workers):
            worker.close()
        for thread in threads:  # a worker that is still being created removes its copy
            thread.join(60)
