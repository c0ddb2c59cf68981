"""Connecting to a Ray cluster, or starting Ray on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.services import canonicalize_bootstrap_address_or_die

from evonas.errors import UsageError, shorten
from evonas.records.environment import usable_cores
from evonas.workers.executors.ray_resources import NodeResources

_LOOPBACK = "127.0.0.1"
_CLIENT = "ray://"


@dataclass(frozen=True, slots=True)
class RayConnection:
    """A Ray instance that this process is connected to.

    Attributes:
        dashboard: the address of its dashboard, HOST:PORT; None if it has none.
        cluster: whether it was running before, so that nodes may join it.
    """

    dashboard: str | None
    cluster: bool


def cluster_address(address: str | None) -> str | None:
    """Return the given address of a cluster, or that in RAY_ADDRESS, which Ray sets for jobs; None for neither."""
    address = address or os.environ.get("RAY_ADDRESS") or None
    return None if address == "local" else address


def connect(address: str | None, cpus: int) -> RayConnection:
    """Connect to the cluster at `address` or RAY_ADDRESS; if there is neither, start Ray on this machine.

    Args:
        address: HOST:PORT, or "auto" for the cluster that this machine is a node of.
        cpus: the minimum number of CPUs for a Ray that is started here.

    Raises:
        UsageError: The cluster does not answer, or Ray cannot be started.
    """
    address = cluster_address(address)
    if address is not None:
        address = _reachable(address)
    # Workers report through their results; messages of Ray would disturb the live display.
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    here: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if address is None:
        settings |= {"num_cpus": max(cpus, usable_cores()), "include_dashboard": True, "dashboard_host": _LOOPBACK}
        settings |= {"_node_ip_address": _LOOPBACK, "address": "local"}
        here = on_loopback()
    else:
        settings["address"] = address
    # Ray replaces our handler of SIGTERM with one under which termination would look like a crash.
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        with here:
            context = ray.init(**settings)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        where = f"no Ray cluster answers at {address}" if address else "Ray could not be started on this machine"
        reason = " ".join(str(error).split())[:400]
        if address and "RAY_AUTH_MODE" not in os.environ:
            reason += "; if it asks for a token, set RAY_AUTH_MODE=token"
        raise UsageError(f"{where}: {reason}; `--executor local` works without Ray") from None
    if threading.current_thread() is threading.main_thread() and on_terminate is not None:
        signal.signal(signal.SIGTERM, on_terminate)
    return RayConnection(context.dashboard_url or None, address is not None)


def alive_nodes() -> Mapping[str, NodeResources]:
    """Return the resources of the nodes of the cluster that are alive, by Ray's node id."""
    return {node["NodeID"]: node.get("Resources", {}) for node in ray.nodes() if node["Alive"]}


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Make a Ray that starts within this context listen on the loopback interface only.

    By default, Ray listens on all interfaces, whatever address it is given, except on systems where it does not
    support clusters. This context sets Ray's switch for such systems, which Ray reads when it is imported and in
    the processes that it starts.
    """
    from ray._private import ray_constants

    variable, before = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", ray_constants.ENABLE_RAY_CLUSTER
    inherited = os.environ.get(variable)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or Ray would report each start to its developers
    ray_constants.ENABLE_RAY_CLUSTER, os.environ[variable] = False, "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        if inherited is None:
            del os.environ[variable]
        else:
            os.environ[variable] = inherited


def _reachable(address: str) -> str:
    """Check an address, and return it in the form that Ray uses.

    Without the check, Ray itself would try for two minutes, and then end the process.

    Raises:
        UsageError: Nothing listens at the address, or it is one for Ray Client, under which a search ends when its
            connection breaks and has no metrics.
    """
    if address.startswith(_CLIENT):
        raise UsageError(
            f"{shorten(address)} is an address for Ray Client, under which a search would end when the connection "
            "breaks; start it on the cluster: `ray job submit --address http://HOST:8265 -- evonas search …`, or there "
            "with --ray-address auto"
        )
    host, _, port = address.rpartition(":")
    numbered = bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if address != "auto" and (not numbered or "://" in address):
        raise UsageError(f"a Ray address is HOST:PORT or 'auto', not {shorten(address)}")
    named = address
    try:
        # Finds the cluster of "auto", and replaces loopback by this machine's address.
        address = canonicalize_bootstrap_address_or_die(address)
    except (ConnectionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"no Ray cluster answers at {named}: {reason}") from None
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise UsageError(f"no Ray cluster answers at {named}: {error.strerror or error}") from None
    return named if named == "auto" else address  # with "auto", Ray finds the token of a local cluster by itself
