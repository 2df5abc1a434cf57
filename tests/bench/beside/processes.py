"""CPU time and memory of processes with their children, from /proc."""
import os
import re
import signal

TICKS = os.sysconf("SC_CLK_TCK")


def read(pid, name):
    try:
        with open(f"/proc/{pid}/{name}") as file:
            return file.read()
    except OSError:
        return ""


def stat_fields(pid):
    """The fields of /proc/PID/stat from the state on; the name before them may hold anything."""
    return read(pid, "stat").rpartition(")")[2].split()


def family(roots):
    """These processes and all that descend from them."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat_fields(entry)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, next_ones = [], list(roots)
    while next_ones:
        pid = next_ones.pop()
        if pid not in found:
            found.append(pid)
            next_ones += children.get(pid, [])
    return found


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def cpu_seconds(roots):
    """User and system time of these processes and their children so far."""
    total = 0
    for pid in family(roots):
        fields = stat_fields(pid)
        if fields:
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_kib(roots, field):
    total = 0
    for pid in family(roots):
        found = re.search(rf"^{field}:\s+(\d+) kB", read(pid, "status"), re.MULTILINE)
        total += int(found.group(1)) if found else 0
    return total


def resident_kib(roots):
    return memory_kib(roots, "VmRSS")


def peak_kib(roots):
    """The most resident memory since the last `forget_peak`, each process's own peak added up."""
    return memory_kib(roots, "VmHWM")


def forget_peak(roots):
    for pid in family(roots):
        with open(f"/proc/{pid}/clear_refs", "w") as file:
            file.write("5")
