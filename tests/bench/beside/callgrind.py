"""Instructions and system calls of one node, counted a request.

Both are counted by difference: a load of many requests less one of few, divided by the requests between them, so that connections being
opened and whatever a load costs once do not count. What a node does by itself meanwhile is counted at rest and taken off.
"""
import dataclasses
import glob
import re
import statistics
import subprocess
import sys
import time

from . import backends, loads
from .site import HOST, SERVICE, SMALL_BACKEND, Setup, Target, sites
from .weft import OUTBOUND, PASSPHRASE, Node

# Requests of the two loads: under valgrind a node serves two to three thousand a second.
FEW, MANY = 500, 2500
PAIRS = 5
REST_SECONDS = 2
# One worker: with several the kernel decides which of them does what.
WORKERS = 1
# Under valgrind a handshake takes far longer than between machines.
SETTINGS = '\n[timeouts]\nconnect = "20s"\n'


@dataclasses.dataclass
class Reading:
    """What was counted over a time, in all and by name."""
    total: int
    seconds: float
    by_name: dict


def start_nodes(stage, binary, counted, before):
    """The nodes with the application behind them; `counted` is "edge", "near" or "far", and its node runs under `before`.

    Gives where to send requests, and the process id of the counted node."""
    backends.start_small(stage)
    site = sites(1)[0]
    secret = stage.write("passphrase", PASSPHRASE)
    near = Node(stage, binary, "near", site.near_ip, () if counted == "far" else before)
    near.init(secret)
    near.start(workers=WORKERS, more=SETTINGS)
    last = near
    if counted != "edge":
        last = Node(stage, binary, "far", site.far_ip, before if counted == "far" else ())
        last.join(near)
        last.start(workers=WORKERS, more=SETTINGS)
    last.weft("expose", SERVICE, SMALL_BACKEND, "--protocol", "http")
    address = f"{site.near_ip}:{OUTBOUND}"
    stage.wait_for(f"http://{address}{Setup().ready_path}", {"Host": HOST}, 60)
    return Target("weft", address, []), (last if counted == "far" else near).pid


class Callgrind:
    """Counts instructions of a process that runs under valgrind."""

    def __init__(self, stage):
        self.output = stage.path("callgrind")
        # Counting is off until the node serves: its start would take a minute otherwise.
        self.before = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self.output}"]

    def control(self, pid, *words):
        done = subprocess.run(["callgrind_control", *words, str(pid)], capture_output=True, text=True)
        if done.returncode or "OK." not in done.stdout:
            sys.exit(f"callgrind_control {' '.join(words)}: {done.stdout}{done.stderr}")

    def begin(self, pid):
        self.control(pid, "-i", "on")

    def read(self, pid, work):
        self.control(pid, "-z")
        started = time.monotonic()
        work()
        seconds = time.monotonic() - started
        known = set(glob.glob(f"{self.output}.*"))
        self.control(pid, "-d")
        written = set(glob.glob(f"{self.output}.*")) - known
        return self.parse(written.pop(), seconds)

    def parse(self, path, seconds):
        text = subprocess.run(["callgrind_annotate", "--threshold=100", "--auto=no", path], capture_output=True, text=True, check=True).stdout
        by_name = {}
        for count, place in re.findall(r"^\s*([\d,]+) \([ \d.]+%\)\s+(\S.*)$", text, re.MULTILINE):
            # FILE:FUNCTION [OBJECT]; a function stands once for each file of what was inlined into it.
            name = re.sub(r" \[.*\]$", "", place.partition(":")[2])
            if name:
                by_name[name] = by_name.get(name, 0) + int(count.replace(",", ""))
        total = re.search(r"^([\d,]+) .*PROGRAM TOTALS", text, re.MULTILINE)
        return Reading(int(total.group(1).replace(",", "")), seconds, by_name)


class Strace:
    """Counts the system calls of a process."""

    def __init__(self, stage):
        self.output = stage.path("strace")
        self.before = []

    def begin(self, pid):
        pass

    def read(self, pid, work):
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", self.output, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
        # It says so when it has attached to all threads.
        tracer.stderr.readline()
        time.sleep(0.5)
        started = time.monotonic()
        try:
            work()
        finally:
            seconds = time.monotonic() - started
            tracer.terminate()
            tracer.communicate(timeout=20)
        by_name = {}
        with open(self.output) as file:
            for fields in (line.split() for line in file):
                if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
                    by_name[fields[-1]] = int(fields[3])
        return Reading(sum(by_name.values()), seconds, by_name)


def per_request(stage, binary, counted, connections, make, log):
    """Counts with `make` (Callgrind or Strace): gives the figures of each pair of loads, and the middle one by name."""
    tool = make(stage)
    target, pid = start_nodes(stage, binary, counted, tool.before)

    def load(count):
        loads.h2load(target, connections, "http/1.1", requests=count)
    load(FEW)
    tool.begin(pid)
    load(FEW)
    rest = tool.read(pid, lambda: time.sleep(REST_SECONDS))
    log(f"at rest: {rest.total / rest.seconds:,.0f} a second")
    found, by_name = [], []
    for _ in range(PAIRS):
        few, many = (tool.read(pid, lambda: load(count)) for count in (FEW, MANY))
        by_name.append({name: (count - few.by_name.get(name, 0)) / (MANY - FEW) for name, count in many.by_name.items()})
        own = rest.total / rest.seconds * (many.seconds - few.seconds)
        found.append((many.total - few.total - own) / (MANY - FEW))
    names = {name for one in by_name for name in one}
    middle = {name: statistics.median(one.get(name, 0) for one in by_name) for name in names}
    return found, dict(sorted(middle.items(), key=lambda pair: (-pair[1], pair[0])))
