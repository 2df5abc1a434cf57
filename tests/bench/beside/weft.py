"""Nodes of a mesh, as a proxy: one node, or two where there are two hops."""
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

from .site import HOST, SERVICE, Target, path_of

WORKERS = 2
OUTBOUND = 4512
ADMIN = 4511
# The local port that leads to the service as a stream.
BOUND = 8080
PASSPHRASE = "a passphrase for a benchmark\n"


def find():
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(cache, "weft/target"))
    path = os.environ.get("WEFT_BIN", os.path.join(target, "release/weft"))
    return path if os.path.exists(path) else None


class Node:
    """One node. `before` stands before the command that runs it, for example valgrind with its options."""

    def __init__(self, stage, binary, name, ip, before=()):
        self.stage, self.binary, self.name, self.ip, self.before = stage, binary, name, ip, list(before)
        self.directory = stage.path(f"weft-{ip}")
        self.pid = None

    def weft(self, *words):
        done = subprocess.run([self.binary, "--dir", self.directory, "--output", "json", *words], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"weft {' '.join(words)}: {done.stderr}")
        return json.loads(done.stdout)

    def init(self, secret):
        self.weft("init", "bench", "--node", self.name, "--advertise", self.ip, "--bind", self.ip, "--passphrase-file", secret)

    def join(self, signer):
        token = signer.weft("token", "create", "--grant", SERVICE, "--ttl", "10m")["token"]
        self.weft("join", signer.ip, "--token", token, "--node", self.name, "--advertise", self.ip, "--bind", self.ip)

    def start(self, workers=WORKERS, access_log="off", more=""):
        """Runs it; `more` is the rest of its configuration file. Returns when it is ready."""
        wanted = "true" if access_log == "on" else "false"
        pathlib.Path(self.directory, "node.toml").write_text(f"workers = {workers}\n\n[access_log]\nenabled = {wanted}\n{more}")
        self.pid = self.stage.start(f"weft-{self.ip}", [*self.before, self.binary, "--dir", self.directory, "run"])
        self.stage.wait_for(f"http://{self.ip}:{ADMIN}/readyz", {}, 60)


class Weft:
    def __init__(self, binary, name):
        self.binary, self.name = binary, name

    def version(self):
        text = subprocess.run([self.binary, "version"], capture_output=True, text=True).stdout
        return text.split()[-1] if text.split() else "unknown"

    def start(self, stage, setup, site):
        secret = stage.write("passphrase", PASSPHRASE)
        near = Node(stage, self.binary, "near", site.near_ip)
        near.init(secret)
        near.start(access_log=setup.access_log)
        nodes = [near]
        if setup.hops == 2:
            far = Node(stage, self.binary, "far", site.far_ip)
            far.join(near)
            far.start(access_log=setup.access_log)
            nodes.append(far)
        protocol = "http" if setup.mode == "http" else "tcp"
        nodes[-1].weft("expose", SERVICE, setup.backend, "--protocol", protocol)
        if setup.routes:
            self.know(stage, near, setup.routes, secret)
        port = OUTBOUND
        if setup.mode == "tcp":
            near.weft("bind", SERVICE, str(BOUND))
            port = BOUND
        address = f"{near.ip}:{port}"
        stage.wait_for(f"http://{address}{setup.ready_path}", {"Host": HOST})
        return Target(self.name, address, [near.pid], [node.pid for node in nodes[1:]])

    def copier(self):
        return Copier(self.binary, f"{self.name} copying")

    def know(self, stage, node, count, secret):
        """So many routes, each for one path; ten a document, because a change set takes a thousand documents."""
        texts = []
        for first in range(0, count, 10):
            rules = ", ".join(f'{{ match = [{{ path = {{ exact = "{path_of(index)}" }} }}] }}' for index in range(first, min(first + 10, count)))
            texts.append(f'[[route]]\nname = "route-{first}"\nservice = "{SERVICE}"\nrule = [{rules}]\n')
        path = stage.write(f"routes-{node.ip}.toml", "\n".join(texts))
        node.weft("apply", path, "--passphrase-file", secret, "--wait", "60s")

    def supports(self, group, stage):
        """Nodes take X25519MLKEM768 between them, and no setting changes it."""
        return group == "X25519MLKEM768"


class Copier(Weft):
    """Nodes that carry the same connections as streams: they look at no byte. Nothing that reads requests can cost less in this runtime."""

    def start(self, stage, setup, site):
        return super().start(stage, dataclasses.replace(setup, mode="tcp"), site)
