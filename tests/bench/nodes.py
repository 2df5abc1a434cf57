#!/usr/bin/env python3
"""Start nodes for a comparison with other proxies, beside a backend on 127.0.0.1, until Ctrl-C.

  nodes.py edge [--backend 19000]     one node: plain HTTP in, plain HTTP to the backend
  nodes.py hop  [--backend 19000]     two nodes: plain HTTP in, mutual TLS 1.3 between them, plain HTTP to the backend

Prints one line of JSON: the port on 127.0.0.1 to send load to, the header that names the service, and the process
ids whose CPU time counts. The backend must listen already; --start-backend runs an nginx with a reply of 128 bytes there.
docs/measurements.md describes the load and the set-up of nginx, HAProxy and Envoy that belong beside it.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

SERVICE = "backend"
REPLY = "x" * 128
# No access log, as the other proxies of the comparison have none.
NODE = "workers = 2\n\n[access_log]\nenabled = false\n"


def binary():
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(cache, "weft/target"))
    return os.environ.get("WEFT_BIN", os.path.join(target, "release/weft"))


class Node:
    def __init__(self, folder, name, address):
        self.directory, self.name, self.address = os.path.join(folder, name), name, address
        self.process = None

    def weft(self, *words):
        done = subprocess.run([binary(), "--dir", self.directory, "--output", "json", *words], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"weft {' '.join(words)}: {done.stderr}")
        return json.loads(done.stdout)

    def start(self):
        pathlib.Path(self.directory, "node.toml").write_text(NODE)
        log = open(os.path.join(self.directory, "run.log"), "w")
        self.process = subprocess.Popen([binary(), "--dir", self.directory, "run"], stdout=log, stderr=log)
        wait(f"http://{self.address}:4511/readyz", {})


def wait(url, headers):
    last = None
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=2) as reply:
                if reply.status == 200:
                    return
        except OSError as error:
            last = error
        time.sleep(0.1)
    sys.exit(f"no answer from {url}: {last}")


def start_backend(folder, port):
    config = os.path.join(folder, "backend.conf")
    pathlib.Path(config).write_text(
        f"worker_processes 1; daemon off; pid {folder}/backend.pid; error_log /dev/null; events {{ worker_connections 4096; }}\n"
        "http { access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ default_type application/json; return 200 \"{REPLY}\"; }} }} }}\n")
    return subprocess.Popen(["nginx", "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=["edge", "hop"])
    parser.add_argument("--backend", type=int, default=19000)
    parser.add_argument("--start-backend", action="store_true")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="weft-bench-")
    secret = os.path.join(folder, "passphrase")
    pathlib.Path(secret).write_text("a passphrase for a benchmark\n")
    started = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if arguments.start_backend:
            started.append(start_backend(folder, arguments.backend))
        # The caller's node listens on 127.0.0.1, where load generators look for it.
        near = Node(folder, "near", "127.0.0.1")
        near.weft("init", "bench", "--node", "near", "--advertise", "127.0.0.1", "--bind", "127.0.0.1", "--passphrase-file", secret)
        near.start()
        nodes = [near]
        started.append(near.process)
        if arguments.scenario == "hop":
            token = near.weft("token", "create", "--grant", SERVICE, "--ttl", "10m")["token"]
            far = Node(folder, "far", "127.0.9.2")
            far.weft("join", "127.0.0.1", "--token", token, "--node", "far", "--advertise", far.address, "--bind", far.address)
            far.start()
            nodes.append(far)
            started.append(far.process)
        nodes[-1].weft("expose", SERVICE, str(arguments.backend), "--protocol", "http")
        host = f"{SERVICE}.weft.internal"
        wait("http://127.0.0.1:4512/", {"Host": host})
        pids = ",".join(str(node.process.pid) for node in nodes)
        print(json.dumps({"port": 4512, "header": f"Host: {host}", "pids": pids}), flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
