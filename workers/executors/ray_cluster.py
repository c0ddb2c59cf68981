"""Joining a Ray cluster, or starting one on this machine."""

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
class Joined:
    """A Ray that this process is connected to.

    Attributes:
        dashboard: where its dashboard is, as HOST:PORT, if it has one.
        cluster: whether it was running before, and so may grow.
    """

    dashboard: str | None
    cluster: bool


def cluster_address(address: str | None) -> str | None:
    """Of the cluster to join: the one given, or that of RAY_ADDRESS, which Ray sets for jobs; None for none."""
    address = address or os.environ.get("RAY_ADDRESS") or None
    return None if address == "local" else address


def start(address: str | None, cpus: int) -> Joined:
    """Joins the cluster at `address` or RAY_ADDRESS; where there is neither, starts a Ray on this machine.

    Args:
        address: HOST:PORT, or "auto" for the cluster that this machine is a node of.
        cpus: that a Ray which is started here should have at least.

    Raises:
        UsageError: when there is no Ray to be had.
    """
    address = cluster_address(address)
    if address is not None:
        address = _reachable(address)
    # Workers log through their results; Ray's own chatter would tear up the live display.
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    here: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if address is None:
        settings |= {"num_cpus": max(cpus, usable_cores()), "include_dashboard": True, "dashboard_host": _LOOPBACK}
        settings |= {"_node_ip_address": _LOOPBACK, "address": "local"}
        here = on_loopback()
    else:
        settings["address"] = address
    # Ray puts a handler of its own in the place of ours, under which a polite kill would be a crash.
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        with here:
            context = ray.init(**settings)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        where = f"no Ray cluster answers at {address}" if address else "Ray could not be started here"
        reason = " ".join(str(error).split())[:400]
        if address and "RAY_AUTH_MODE" not in os.environ:
            reason += "; if it asks for a token, set RAY_AUTH_MODE=token"
        raise UsageError(f"{where}: {reason}; `--executor local` works without Ray") from None
    if threading.current_thread() is threading.main_thread() and on_terminate is not None:
        signal.signal(signal.SIGTERM, on_terminate)
    return Joined(context.dashboard_url or None, address is not None)


def alive_nodes() -> Mapping[str, NodeResources]:
    """What the nodes of the cluster have, by Ray's ids of them, without those that have died."""
    return {node["NodeID"]: node.get("Resources", {}) for node in ray.nodes() if node["Alive"]}


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Within it, a Ray that starts listens on the loopback interface alone.

    Ray does so on systems where it runs no clusters, which is a switch, read when Ray is imported and by the
    processes that it starts. Elsewhere it listens on all interfaces, whatever address it is given.
    """
    from ray._private import ray_constants

    variable, before = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", ray_constants.ENABLE_RAY_CLUSTER
    inherited = os.environ.get(variable)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or it would tell its makers of each start
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
    """The address as Ray will use it.

    Raises:
        UsageError: where nothing listens, Ray itself would try for two minutes, then end the process; and for Ray
            Client, under which a search ends with its connection, in one of several ways, and has no metrics.
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
        # Finds the cluster of "auto", and puts this machine's address in the place of loopback.
        address = canonicalize_bootstrap_address_or_die(address)
    except (ConnectionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"no Ray cluster answers at {named}: {reason}") from None
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise UsageError(f"no Ray cluster answers at {named}: {error.strerror or error}") from None
    return named if named == "auto" else address  # Ray takes the token of a cluster of this machine alone unasked
