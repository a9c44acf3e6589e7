"""Hosts meet at an address before JAX joins them: JAX aborts a process whose peers do not come."""

import json
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack

RETRY_SECONDS = 0.2
MAX_LINE = 10_000
GO, REFUSED = "go", "refused: "


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`, IPv6 hosts in brackets.

    Raises:
        ValueError: if it is not of that form.
    """
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    whole = port.isascii() and port.isdigit() and 1 <= int(port) <= 65535
    if not bare or (":" in bare and bare == host) or not whole or set(bare) & set(" /@"):
        raise ValueError(
            f"`coordinator` must be host:port with a port from 1 to 65535, got {address!r}."
        )
    return bare, int(port)


def gather_hosts(bind: str, port: int, processes: int, timeout: float) -> None:
    """Host 0: waits for all others, then lets them go.

    Args:
        bind: own address to listen on.
        port: to listen on; free again afterwards.
        processes: how many hosts, this one included.
        timeout: seconds.

    Raises:
        ConnectionError: if the address cannot be listened on.
        TimeoutError: naming the hosts that did not come.
    """
    deadline = time.monotonic() + timeout
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(bind, port, processes))
        arrived: dict[int, socket.socket] = {}
        while len(arrived) < processes - 1:
            listener.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                guest = stack.enter_context(listener.accept()[0])
            except TimeoutError:
                missing = sorted(set(range(1, processes)) - set(arrived))
                reason = f"hosts {missing} did not join at {bind}:{port} within {timeout:g} s."
                _tell(arrived.values(), REFUSED + reason)
                raise TimeoutError(reason) from None
            _welcome(guest, arrived, processes)
        _tell(arrived.values(), GO)


def meet_host(host: str, port: int, processes: int, index: int, timeout: float) -> None:
    """Any other host: reports to host 0 and waits until all are there.

    Args:
        host: of host 0.
        port: of host 0.
        processes: how many hosts.
        index: of this one.
        timeout: seconds.

    Raises:
        ConnectionError: if host 0 refuses this one, or others are missing.
        TimeoutError: if host 0 cannot be reached or does not answer.
    """
    deadline = time.monotonic() + timeout
    with _connected(host, port, deadline, timeout) as guest:
        try:
            guest.sendall(json.dumps({"index": index, "processes": processes}).encode() + b"\n")
            guest.settimeout(max(0.01, deadline - time.monotonic()))
            answer = _line(guest, MAX_LINE)
        except TimeoutError:
            raise TimeoutError(
                f"host 0 at {host}:{port} did not let this one go on within {timeout:g} s."
            ) from None
        except OSError as error:
            answer = str(error)
    if answer != GO:
        stated = answer.startswith(REFUSED)
        raise ConnectionError(
            answer.removeprefix(REFUSED)
            if stated
            else f"what answers at {host}:{port} is not host 0 of this program."
        )


def _listen(bind: str, port: int, processes: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((bind, port), family=family, backlog=max(8, processes))
    except OSError as error:
        raise ConnectionError(
            f"host 0 cannot listen on {bind}:{port}: {error.strerror or error}."
        ) from error


def _welcome(guest: socket.socket, arrived: dict[int, socket.socket], processes: int) -> None:
    """Admits a host that says who it is; whoever else connects is sent away."""
    guest.settimeout(5.0)
    try:
        stated = json.loads(_line(guest, MAX_LINE))
        index, theirs = int(stated["index"]), int(stated["processes"])
    except (OSError, ValueError, KeyError, TypeError):
        guest.close()
        return
    if theirs == processes and 0 < index < processes and index not in arrived:
        arrived[index] = guest
        return
    reason = f"`index` {index} has already joined."
    if theirs != processes:
        reason = f"host 0 expects {processes} processes, host {index} says {theirs}."
    _tell([guest], REFUSED + reason)
    guest.close()


def _connected(host: str, port: int, deadline: float, timeout: float) -> socket.socket:
    while True:
        left = deadline - time.monotonic()
        try:
            return socket.create_connection((host, port), timeout=max(0.01, left))
        except OSError as error:
            if left < RETRY_SECONDS:
                raise TimeoutError(
                    f"host 0 cannot be reached at {host}:{port} within {timeout:g} s: "
                    f"{error.strerror or error}."
                ) from error
        time.sleep(RETRY_SECONDS)


def _line(guest: socket.socket, limit: int) -> str:
    received = b""
    while not received.endswith(b"\n") and len(received) < limit:
        more = guest.recv(limit - len(received))
        if not more:
            break
        received += more
    return received.decode(errors="replace").strip()


def _tell(guests: Iterable[socket.socket], message: str) -> None:
    for guest in guests:
        try:
            guest.sendall(message.encode() + b"\n")
        except OSError:
            continue  # it has gone, and will see that the connection ended
