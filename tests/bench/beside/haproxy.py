"""HAProxy as a proxy."""
import re
import shutil
import subprocess

from . import certificates
from .site import HOST, Target, path_of

THREADS = 2
LOG = ("""log-format '{"at_ms":%Ts%ms,"method":"%HM","service":"%[capture.req.hdr(0)]","path":"%HU","status":%ST,"bytes":%B,"took_ms":%Ta,"""
       """"upstream":"%si:%sp","trace":"%[capture.req.hdr(1)]"}'""")


def find():
    return shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")


class Haproxy:
    def __init__(self, binary, name):
        self.binary, self.name = binary, name

    def version(self):
        text = subprocess.run([self.binary, "-v"], capture_output=True, text=True).stdout
        return re.search(r"version (\S+)", text).group(1)

    def start(self, stage, setup, site):
        name = site.near_ip
        folder = certificates.make(stage.path(f"{name}-keys")) if setup.hops == 2 else ""
        parts = self.sections(stage, name, setup, site, folder)
        groups = [[part] for part in parts] if setup.processes == "apart" else [parts]
        started = []
        for index, group in enumerate(groups):
            path = stage.write(f"{name}-{index}.cfg", self.head(setup) + "\n".join(group))
            started.append(stage.start(f"{name}-{index}", [self.binary, "-db", "-f", path]))
        stage.wait_for(f"http://{site.near}{setup.ready_path}", {"Host": HOST})
        return Target(self.name, site.near, started[:1], started[1:])

    def head(self, setup):
        # Its log goes to its standard output, which is a file here.
        log = "log stdout format raw local0" if setup.access_log == "on" else ""
        mode = "mode http\n  http-reuse always" if setup.mode == "http" else "mode tcp\n  option splice-auto"
        return f"""global
  nbthread {THREADS}
  maxconn 6000
  tune.ssl.cachesize 0
  {log}
defaults
  {mode}
  {"log global" if log else ""}
  {LOG if log else ""}
  timeout connect 5s
  timeout client 600s
  timeout server 600s
"""

    def sections(self, stage, name, setup, site, folder):
        captures = "capture request header Host len 64\n  capture request header traceparent len 64" if setup.access_log == "on" else ""
        bind = "bind {} backlog 4096 {}"
        if setup.hops == 1:
            return [self.front("near", captures, bind.format(site.near, ""), self.choice(stage, name, setup, "local"))
                    + self.back("local", setup.backend, "")]
        verify = f"ca-file {folder}/ca.crt verify required ssl-min-ver TLSv1.3"
        out = f"ssl crt {folder}/near.pem {verify} sni str(far) verifyhost far"
        into = f"ssl crt {folder}/far.pem {verify}"
        if setup.mode == "tcp":
            # Every connection pays a full handshake, as between nodes.
            curves = f"curves {setup.group}" if setup.group else ""
            out = f"{out} no-ssl-reuse {curves if self.server_curves() else ''}"
            into = f"{into} no-tls-tickets {curves}"
        return [self.front("near", captures, bind.format(site.near, ""), self.choice(stage, name, setup, "peer"))
                + self.back("peer", site.far, out),
                self.front("far", captures, bind.format(site.far, into), "default_backend local") + self.back("local", setup.backend, "")]

    def choice(self, stage, name, setup, backend):
        if not setup.routes:
            return f"default_backend {backend}"
        path = stage.write(f"{name}.map", "".join(f"{path_of(index)} {backend}\n" for index in range(setup.routes)))
        return f"use_backend %[path,map_str({path})]"

    def front(self, name, captures, bind, choice):
        return f"frontend {name}\n  {captures}\n  {bind}\n  {choice}\n"

    def back(self, name, address, words):
        return f"backend {name}\n  server s {address} {words}\n"

    def server_curves(self):
        """Whether the key exchange of its own connections can be set; before that they take the accepting side's."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version())[:2]) >= (3, 0)

    def supports(self, group, stage):
        """Whether this program knows a key exchange."""
        folder = certificates.make(stage.path(f"try-{self.name.replace(' ', '-')}-{group}"))
        times = "".join(f"  timeout {side} 1s\n" for side in ("connect", "client", "server"))
        text = f"defaults\n  mode tcp\n{times}frontend f\n  bind 127.91.0.9:1 ssl crt {folder}/far.pem curves {group}\n"
        path = stage.write(f"try-{self.name.replace(' ', '-')}.cfg", text)
        return subprocess.run([self.binary, "-c", "-f", path], capture_output=True).returncode == 0
