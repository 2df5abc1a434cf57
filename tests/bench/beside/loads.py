"""The clients before the proxies. Each gives what it counted, and ends the program where a reply was wrong."""
import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time

from . import bulk
from .site import HOST

SCRIPT = os.path.join(os.path.dirname(__file__), "load.lua")
# A stream that stands still so long has failed.
STALL_SECONDS = 60


def wrk(target, seconds, connections, path="/", headers=(), **settings):
    """wrk with one thread, keep-alive unless `headers` say otherwise; `settings` are those of load.lua."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", SCRIPT]
    for header in (f"Host: {HOST}", *headers):
        command += ["-H", header]
    command += [target.url + path, "--", *(f"{key}={value}" for key, value in settings.items())]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        sys.exit(f"{target.name}: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    found = json.loads(lines[-1])
    wrong = {key: found[key] for key in ("bad_statuses", "broken", "timeouts") if found[key]}
    if wrong or not found["requests"]:
        sys.exit(f"{target.name}: of {found['requests']} requests {wrong or 'none came back'}; {' '.join(command)}")
    return found


def h2load(target, connections, protocol, seconds=None, requests=None, streams=1, path="/", upload=None):
    """h2load with one thread, for so many seconds or so many requests. `protocol` is "http/1.1" or "h2c" (HTTP/2 without TLS)."""
    command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", "--connect-to", target.address, *(["--h1"] if protocol == "http/1.1" else [])]
    command += [f"-D{seconds}"] if seconds else [f"-n{requests}"]
    command += ["-d", upload] if upload else []
    command.append(f"http://{HOST}{path}")
    text = subprocess.run(command, capture_output=True, text=True).stdout
    counts = re.search(r"requests: (\d+) total.* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    statuses = re.search(r"status codes: (\d+) 2xx", text)
    if not counts or not statuses:
        sys.exit(f"{target.name}: {' '.join(command)} failed:\n{text}")
    succeeded, failed, timeouts = int(counts.group(2)), int(counts.group(3)), int(counts.group(5))
    if not succeeded or failed or timeouts:
        sys.exit(f"{target.name}: {counts.group(0)}; {' '.join(command)}")
    took = re.search(r"finished in ([\d.]+)(ms|us|s|m),", text)
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[took.group(2)]
    return {"requests": succeeded, "seconds": float(took.group(1)) * unit}


def connect(target):
    ip, port = target.address.split(":")
    connection = socket.create_connection((ip, int(port)), timeout=STALL_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def one_transfer(target, direction, count, source, mib_per_second):
    """One request of so many bytes up or down, in a connection of its own."""
    path = f"/?bytes={count}" if direction == "down" else f"/?mib_per_second={mib_per_second}"
    head = (f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n" if direction == "down"
            else f"PUT {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {count}\r\n\r\n")
    with connect(target) as connection:
        connection.sendall(head.encode())
        # The socket must block for sendfile; the kernel keeps the time.
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, STALL_SECONDS.to_bytes(8, "little") + bytes(8))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, STALL_SECONDS.to_bytes(8, "little") + bytes(8))
        if direction == "up":
            bulk.send_bytes(connection, source, count)
        lines, rest = bulk.read_head(connection, b"")
        if not lines or " 200" not in lines[0]:
            raise OSError(f"answered {lines[:1]}")
        if direction == "down":
            missing = bulk.throw_away(connection, count - len(rest), bytearray(bulk.CHUNK), mib_per_second)
            if missing:
                raise OSError(f"{missing} of {count} bytes did not come")


def transfer(target, direction, count, connections=1, mib_per_second=0):
    """So many bytes up or down in all, over so many connections at once; gives the seconds that it took."""
    source, failures = bulk.source_file(), []

    def one():
        try:
            one_transfer(target, direction, count // connections, source, mib_per_second)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=one, daemon=True) for _ in range(connections)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(source)
    if failures:
        sys.exit(f"{target.name}: {direction} failed: {failures[0]}")
    return time.monotonic() - started


class IdleClients:
    """So many connections that have each had one reply and stay open; closed when the block ends."""

    def __init__(self, target, count):
        self.target, self.count, self.connections = target, count, []

    def __enter__(self):
        request = f"GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode()
        for _ in range(self.count):
            connection = connect(self.target)
            self.connections.append(connection)
            connection.sendall(request)
            reply = connection.recv(65536)
            if b" 200" not in reply[:16]:
                sys.exit(f"{self.target.name}: answered {reply[:200]}")
        return self

    def __exit__(self, *_):
        for connection in self.connections:
            connection.close()

    def closed(self):
        """How many of them the proxy has closed."""
        poll = select.poll()
        for connection in self.connections:
            connection.setblocking(False)
            poll.register(connection, select.POLLIN | select.POLLRDHUP)
        return sum(1 for _, event in poll.poll(0) if event & (select.POLLRDHUP | select.POLLHUP | select.POLLERR))
