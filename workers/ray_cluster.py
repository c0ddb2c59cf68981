"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import ray
from ray._private import ray_constants

from evonas.environment import usable_cores
from evonas.errors import UsageError, shorten

def start(address: str | None, workers: int | None) -> str | None:
    """Joins or starts a Ray cluster; the address of its dashboard."""
    # Workers log through their results; Ray's own chatter would tear up the live display.
    if address is not None:
        _check_reachable(address)
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:
        settings |= {"num_cpus": max(workers or 0, usable_cores()), "dashboard_host": "127.0.0.1"}
    # Ray puts a handler of its own in the place of ours, under which a polite kill would be a crash.
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.nullcontext() if address else _on_loopback():
            context = ray.init(address=address, include_dashboard=None if address else True, **settings)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        where = f"no Ray cluster answers at {address}" if address else "Ray could not be started here"
        raise UsageError(f"{where}: {str(error).splitlines()[0]}; `--executor local` works without Ray") from None
    if threading.current_thread() is threading.main_thread() and on_terminate is not None:
        signal.signal(signal.SIGTERM, on_terminate)
    return context.dashboard_url or None


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Makes Ray listen on loopback and nowhere else: whoever reaches one of its ports can run code here.

    Ray turns an address that it is given, 127.0.0.1 too, into the machine's own, but for this switch, which is
    for systems whose firewall asks about every port.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _check_reachable(address: str) -> None:
    """Raises UsageError where nothing listens: Ray itself would try for two minutes, then end the process."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if address == "auto":
        return  # Ray looks for a cluster on this machine, and says so at once when there is none
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"a Ray address is HOST:PORT, ray://HOST:PORT or 'auto', not {shorten(address)}")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise UsageError(f"no Ray cluster answers at {address}: {error.strerror or error}") from None
