#!/usr/bin/env -S python3 -B
"""Start nodes on 127.0.0.1 for a load of your own, until Ctrl-C. `compare` starts its own.

  nodes.py edge [--backend 19000]     one node: plain HTTP in, plain HTTP to the backend
  nodes.py hop  [--backend 19000]     two nodes: plain HTTP in, mutual TLS 1.3 between them, plain HTTP to the backend

Prints one line of JSON: the port on 127.0.0.1 to send load to, the header that names the service, and the process
ids whose CPU time counts. The backend must listen already; --start-backend runs an nginx with a reply of 128 bytes there.
"""
import argparse
import json
import signal
import sys

from beside import nginx, weft
from beside.site import HOST, SERVICE
from beside.stage import Stage, end_on_signals


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=["edge", "hop"])
    parser.add_argument("--backend", type=int, default=19000)
    parser.add_argument("--start-backend", action="store_true")
    chosen = parser.parse_args()
    binary = weft.find() or sys.exit("no release binary of weft: cargo build --locked --release -p weft --bin weft, or WEFT_BIN")
    end_on_signals()
    with Stage() as stage:
        if chosen.start_backend:
            nginx.start_backend(stage, nginx.find(), f"127.0.0.1:{chosen.backend}")
        secret = stage.write("passphrase", weft.PASSPHRASE)
        # The caller's node listens on 127.0.0.1, where load generators look for it.
        nodes = [weft.Node(stage, binary, "near", "127.0.0.1")]
        nodes[0].init(secret)
        nodes[0].start()
        if chosen.scenario == "hop":
            far = weft.Node(stage, binary, "far", "127.0.9.2")
            far.join(nodes[0])
            far.start()
            nodes.append(far)
        nodes[-1].weft("expose", SERVICE, str(chosen.backend), "--protocol", "http")
        stage.wait_for(f"http://127.0.0.1:{weft.OUTBOUND}/", {"Host": HOST})
        pids = ",".join(str(node.pid) for node in nodes)
        print(json.dumps({"port": weft.OUTBOUND, "header": f"Host: {HOST}", "pids": pids}), flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
