"""Stand-ins for the parts of a search that are not measured: training, and the cheap filters."""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from evonas.evolution.executor import Executor, Task
from evonas.judging.cheap_filters import CHEAP_FILTERS, Passed, ResumableFilters, Tally
from evonas.judging.hurdles import checkpoints
from evonas.language.graph import Graph
from evonas.settings.candidate import CandidateKeys, Evaluation, FilterOutcome, Status
from evonas.workers.trial.network_filters import filters_of

SCORED = 0.5
"""Share of candidates that are scored. It is a tenth in a real search, but scored candidates cost the most."""
_START_BYTES = 132  # as long as a sketch of `evonas.judging.start_twins`


def answer(task: Task, wall: float = 0.0) -> Evaluation:
    """Make a random evaluation with as many rows as a real one. It depends only on the candidate's index."""
    rng = np.random.default_rng(task.index + 1000)
    protocol = task.protocol
    names = [judge.name for judge in filters_of(protocol)]
    values = rng.random(2 * len(names) + 2 * len(protocol.anchors) + 4).tolist()
    if task.filtered and values.pop() >= SCORED:
        # The first filter rejects most of them, as in a real search.
        reached = min(int(rng.exponential(1.0)), len(names) - 1)
        outcomes = [FilterOutcome(name, True, "", values.pop(), values.pop()) for name in names[:reached]]
        outcomes.append(FilterOutcome(names[reached], False, "at chance", values.pop(), values.pop()))
        return Evaluation(task.index, Status.REJECTED, filters=tuple(outcomes), attempts=task.attempt, wall=wall)
    outcomes = [FilterOutcome(name, True, "", values.pop(), values.pop()) for name in names]
    scores = {anchor: values.pop() for anchor in protocol.anchors}
    outcomes += [FilterOutcome(c.name, True, "", scores[c.anchor], 0.0) for c in checkpoints(protocol)]
    seconds = {anchor: values.pop() for anchor in protocol.anchors}
    return Evaluation(task.index, Status.SCORED, scores, {}, tuple(outcomes), seconds, attempts=task.attempt, wall=wall)


class InstantExecutor(Executor):
    """An executor that evaluates every task at the next poll."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._queue: list[Task] = []

    @property
    def capacity(self) -> int:
        """The number of workers."""
        return self._capacity

    def submit(self, task: Task) -> None:
        """Queue a task."""
        self._queue.append(task)

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        """Return evaluations of all queued tasks."""
        queue, self._queue = self._queue, []
        return [answer(task) for task in queue]

    def close(self) -> None:
        """Do nothing, because there are no processes to stop."""


class SimulatedExecutor(Executor):
    """An executor with a simulated clock, which jumps to the next result without waiting.

    Args:
        capacity: the number of workers.
        duration: a function from the index of a candidate to the seconds that it takes.

    Attributes:
        now: simulated seconds since the start.
        started: simulated time at which each candidate's training began.
    """

    def __init__(self, capacity: int, duration: Callable[[int], float]) -> None:
        self._capacity, self._duration = capacity, duration
        self.now = 0.0
        self.started: dict[int, float] = {}
        self._running: list[tuple[float, int, Task]] = []
        self._queue: deque[Task] = deque()

    @property
    def capacity(self) -> int:
        """The number of workers."""
        return self._capacity

    def submit(self, task: Task) -> None:
        """Start a task if a worker is idle, or else queue it."""
        self._queue.append(task)
        self._dispatch()

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        """Advance the clock to the next end of a task; with a timeout of 0 it stands still and no task ends."""
        if timeout == 0.0 or not self._running:
            return []
        self.now, _, task = heapq.heappop(self._running)
        self._dispatch()
        spent = self.now - self.started[task.index]
        return [Evaluation(task.index, Status.REJECTED, attempts=task.attempt, wall=spent)]

    def close(self) -> None:
        """Do nothing, because there are no processes to stop."""

    def _dispatch(self) -> None:
        while self._queue and len(self._running) < self._capacity:
            task = self._queue.popleft()
            self.started[task.index] = self.now
            heapq.heappush(self._running, (self.now + self._duration(task.index), task.index, task))


class PassingFilters(ResumableFilters):
    """Filters that accept every graph, with keys, a sketch and a tally of realistic size.

    A graph counts as its own canonical form, including dead nodes, so it is longer than a real canonical form.
    """

    def __init__(self) -> None:
        super().__init__(0.0)
        self._passed = 0
        self._sketch: bytes | None = None

    @property
    def start(self) -> bytes | None:
        """The sketch of the latest graph."""
        return self._sketch

    def recall(self, keys: CandidateKeys) -> bool:
        """Restore a known candidate."""
        self._passed += 1
        self._keys.add(keys.key)
        self._functional_keys.add(keys.functional_key)
        return True

    def remember(self, graph: Graph, key: str, functional_key: str) -> None:
        """Store the keys of a graph."""
        self._keys.add(key)
        self._functional_keys.add(functional_key)

    def judge(self, graph: Graph, tally: Tally) -> Passed:
        """Accept a graph, and count what real filters would have discarded before it."""
        self._passed += 1
        digest = hashlib.blake2b(self._passed.to_bytes(8, "little"), digest_size=8).hexdigest()
        self._sketch = digest.encode() * (_START_BYTES // len(digest)) + b"0000"
        graph.__dict__["canonical"] = graph  # fills the cached property without simplifying the graph
        for name in CHEAP_FILTERS:
            tally.discarded[name] += 1
            tally.seconds[name] += 1e-6
        return Passed(digest, digest)
