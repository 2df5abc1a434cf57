"""What `compare` can measure. Each scenario takes the Bench and gives tables; the first figure of a table is what the ratio is taken of."""
import dataclasses
import shutil
import time

from . import loads, processes, rounds
from .site import BULK_BACKEND, MIB, SMALL_BACKEND, Setup, Target, sites
from .stage import Stage

GROUPS = ("X25519MLKEM768", "X25519")
GB = 10**9
GIB = 1 << 30
# Bodies of 1 MiB that two hops carry in a second, about, where they are counted by number.
BODIES_PER_SECOND = 500
HOPS = {1: "one hop", 2: "two hops"}


def request_figures(target, counted, cpu):
    return {"CPU us/request": 1e6 * cpu / counted["requests"], "requests/s": counted["requests"] / counted["seconds"],
            "RSS MiB": processes.resident_kib(target.pids) / 1024}


def small_requests(bench, hops):
    tables = []
    ours = next((proxy for proxy in bench.proxies if proxy.name == bench.ours), None)
    compared = [*bench.proxies, *([ours.copier()] if ours else [])]
    for access_log in bench.access_logs:
        with bench.running(Setup(hops=hops, access_log=access_log, processes=bench.processes), compared) as targets:
            for connections in (64, 8):
                def measure(target):
                    return request_figures(target, *bench.counted(target, lambda seconds: loads.wrk(target, seconds, connections)))
                title = f"requests, {HOPS[hops]}, {connections} connections, access log {access_log}"
                tables.append(bench.table(title, targets, measure))
    return tables


def edge(bench):
    """small requests, one plain hop, 64 and 8 connections"""
    return small_requests(bench, 1)


def hop(bench):
    """small requests, two hops with mutual TLS 1.3 between them, 64 and 8 connections"""
    return small_requests(bench, 2)


def bodies(bench):
    """replies of 1 MiB, one and two hops, 8 connections"""
    tables = []
    for hops in (1, 2):
        with bench.running(Setup(hops=hops, processes=bench.processes)) as targets:
            def measure(target):
                counted, cpu = bench.counted(target, lambda seconds: loads.wrk(target, seconds, 8, path="/1m"))
                return {"CPU us/reply": 1e6 * cpu / counted["requests"], "MiB/s": counted["bytes"] / MIB / counted["seconds"],
                        "RSS MiB": processes.resident_kib(target.pids) / 1024}
            tables.append(bench.table(f"replies of 1 MiB, {HOPS[hops]}, 8 connections", targets, measure))
    return tables


def streams(bench):
    """TCP streams, one and two hops, down and up, 4 connections: CPU time per GB"""
    tables, count = [], int(bench.gigabytes * GB)
    for hops in (1, 2):
        with bench.running(Setup(mode="tcp", hops=hops, backend=BULK_BACKEND, processes=bench.processes)) as targets:
            for direction in ("down", "up"):
                def measure(target):
                    before = processes.cpu_seconds(target.pids)
                    seconds = loads.transfer(target, direction, count, connections=4)
                    cpu = processes.cpu_seconds(target.pids) - before
                    return {"CPU ms/GB": 1e3 * cpu / (count / GB), "MB/s": count / 1e6 / seconds}
                tables.append(bench.table(f"TCP streams {direction}, {HOPS[hops]}, 4 connections", targets, measure))
    return tables


def handshakes(bench):
    """TCP connections through two hops, each with one full mutual TLS 1.3 handshake, and through one without TLS"""
    with bench.running(Setup(mode="tcp")) as targets:
        plain = bench.table("connections without TLS, one hop", targets, lambda target: connection_figures(bench, target))
    with Stage() as stage:
        # Each program once with each key exchange that it knows.
        rows = [(proxy, group) for group in GROUPS for proxy in bench.proxies if proxy.supports(group, stage)]
    with bench.backing(SMALL_BACKEND) as stage:
        targets = []
        for (proxy, group), site in zip(rows, sites(len(rows))):
            target = proxy.start(stage, Setup(mode="tcp", hops=2, processes="apart", group=group), site)
            targets.append(dataclasses.replace(target, name=f"{proxy.name} {group}"))
        ours = next((target.name for target in targets if bench.ours and target.name.startswith(bench.ours)), "")
        bench.log("measuring connections with a handshake")
        found = rounds.run(targets, bench.rounds, lambda target: connection_figures(bench, target))
        return [plain, rounds.table("connections with a full mutual handshake, two hops", found, ours)]


def connection_figures(bench, target):
    def load(seconds):
        return loads.wrk(target, seconds, 32, headers=["Connection: close"])
    if bench.warm_seconds:
        load(bench.warm_seconds)
    near, far = processes.cpu_seconds(target.near), processes.cpu_seconds(target.far)
    counted = load(bench.seconds)
    near, far = processes.cpu_seconds(target.near) - near, processes.cpu_seconds(target.far) - far
    count = counted["requests"]
    figures = {"CPU us/connection": 1e6 * (near + far) / count}
    if target.far:
        figures |= {"of it near": 1e6 * near / count, "of it far": 1e6 * far / count}
    return {**figures, "connections/CPU s": count / (near + far or 1e-9), "connections/s": count / counted["seconds"]}


def idle(bench):
    """memory per idle client connection, one and two hops"""
    tables = []
    for hops in (1, 2):
        title = f"memory of {bench.idle_connections} idle client connections, {HOPS[hops]}"
        found = {proxy.name: [] for proxy in bench.proxies}
        for _ in range(bench.rounds):
            # New processes every round: memory that was used once is used again, and a second time would seem to cost nothing.
            with bench.running(Setup(hops=hops, processes=bench.processes)) as targets:
                bench.log(f"measuring {title}")
                for target in targets:
                    found[target.name].append(idle_figures(bench, target))
        tables.append(rounds.table(title, found, bench.ours, compared="no"))
    return tables


def idle_figures(bench, target):
    # A load first, so that what a proxy keeps for good is not counted as the clients'.
    loads.wrk(target, max(1, bench.warm_seconds), 64)
    time.sleep(1)
    before = processes.resident_kib(target.pids)
    with loads.IdleClients(target, bench.idle_connections) as clients:
        time.sleep(1)
        after = processes.resident_kib(target.pids)
        closed = clients.closed()
    return {"KiB/connection": (after - before) / bench.idle_connections, "RSS MiB before": before / 1024, "RSS MiB with them": after / 1024,
            "closed by proxy": closed}


def memory(bench):
    """resident memory while 1 GiB goes up or down through two hops, the receiver as fast as it can and slowed down"""
    tables, count = [], int(bench.gigabytes * GIB)
    with bench.running(Setup(hops=2, backend=BULK_BACKEND, processes=bench.processes)) as targets:
        for direction in ("up", "down"):
            for pace in (0, bench.mib_per_second):
                def measure(target):
                    before = processes.resident_kib(target.pids)
                    processes.forget_peak(target.pids)
                    seconds = loads.transfer(target, direction, count, mib_per_second=pace)
                    peak = processes.peak_kib(target.pids)
                    return {"peak RSS MiB": peak / 1024, "more than before": (peak - before) / 1024, "MiB/s": count / MIB / seconds}
                speed = f"receiver at {pace} MiB/s" if pace else "receiver at full speed"
                tables.append(bench.table(f"memory while {bench.gigabytes:g} GiB go {direction} through two hops, {speed}", targets, measure))
    return tables


def latency(bench):
    """latency at half of what nginx can do, one and two hops, beside the application without a proxy"""
    tables, connections = [], 128
    direct = Target("no proxy", SMALL_BACKEND, [])
    for hops in (1, 2):
        with bench.running(Setup(hops=hops, processes=bench.processes)) as targets:
            first = next((target for target in targets if target.name.startswith("nginx")), targets[0])
            loads.wrk(first, 1, 64)
            counted = loads.wrk(first, bench.seconds, 64)
            rate = counted["requests"] / counted["seconds"] / 2
            # Each connection asks again and again after a pause; the reply's own time is short against it.
            think_ms = connections / rate * 1000

            def paced(target, seconds):
                return loads.wrk(target, seconds, connections, think_ms=f"{think_ms:.3f}")

            def measure(target):
                if bench.warm_seconds:
                    paced(target, bench.warm_seconds)
                    paced(direct, bench.warm_seconds)
                alone, before = paced(direct, bench.seconds), processes.cpu_seconds(target.pids)
                found = paced(target, bench.seconds)
                cpu = processes.cpu_seconds(target.pids) - before
                return {"added p99 us": found["p99_us"] - alone["p99_us"], "added p50 us": found["p50_us"] - alone["p50_us"], "p50 us": found["p50_us"],
                        "p99 us": found["p99_us"], "CPU us/request": 1e6 * cpu / found["requests"], "requests/s": found["requests"] / found["seconds"]}
            title = f"latency at {rate:.0f} requests/s (half of {first.name}'s most), {HOPS[hops]}, {connections} connections"
            tables.append(bench.table(title, [*targets, direct], measure, compared="no"))
    return tables


def routes(bench):
    """10 and 10,000 routes known, each for one path and all asked for in turn, one plain hop"""
    tables = []
    for count in (10, 10_000):
        with bench.running(Setup(routes=count)) as targets:
            def measure(target):
                return request_figures(target, *bench.counted(target, lambda seconds: loads.wrk(target, seconds, 64, routes=count)))
            tables.append(bench.table(f"{count:,} routes in turn, one hop, 64 connections", targets, measure))
    return tables


def http2(bench):
    """HTTP/2 beside HTTP/1.1 from the client, and so between nodes: 1, 4, 64 and 512 connections, small and 1 MiB"""
    ours = [proxy for proxy in bench.proxies if proxy.name.startswith("weft")]
    tables = []
    if not ours:
        return tables
    with bench.running(Setup(hops=2), ours) as targets, Stage() as stage:
        upload = stage.write("upload", "x" * MIB)
        rows = [dataclasses.replace(target, name=f"{target.name} {protocol}") for target in targets for protocol in ("http/1.1", "h2c")]
        for kind, words in (("small", {}), ("reply of 1 MiB", {"path": "/1m"}), ("request of 1 MiB", {"path": "/sink", "upload": upload})):
            for connections in (1, 4, 64, 512):
                title = f"two hops, {kind}, {connections} connections"
                bench.log(f"measuring {title}")
                found = rounds.run(rows, bench.rounds, lambda target: protocol_figures(bench, target, connections, words))
                tables.append(rounds.table(title, found, rows[1].name))
    return tables


def protocol_figures(bench, target, connections, words):
    protocol = target.name.rpartition(" ")[2]

    def load(seconds):
        if not words:
            return loads.h2load(target, connections, protocol, seconds=seconds)
        # By number: at the end of a given time much of what so many connections have in flight would be paid for and not counted.
        count = max(2, -(-seconds * BODIES_PER_SECOND // connections)) * connections
        return loads.h2load(target, connections, protocol, requests=count, **words)
    return request_figures(target, *bench.counted(target, load))


ALL = {work.__name__: work for work in (edge, hop, bodies, streams, handshakes, idle, memory, latency, routes, http2)}
# What is missing is told at the start, and not after an hour.
PROGRAMS = {"wrk": "wrk", "h2load": "nghttp2-client", "openssl": "openssl"}


def missing_programs():
    return [package for program, package in PROGRAMS.items() if not shutil.which(program)]
