"""nginx as a proxy, and as the application behind all of them."""
import os
import re
import shutil
import subprocess

from . import certificates
from .site import HOST, REPLY_BYTES, SMALL_BACKEND, Target, path_of

WORKERS = 2
# The fields that a node's access log has, buffered as a node's is.
LOG = """log_format line escape=json '{"at_ms":"$msec","method":"$request_method","service":"$host","path":"$request_uri","status":$status,'
  '"bytes":$body_bytes_sent,"took":$request_time,"upstream":"$upstream_addr","trace":"$http_traceparent"}';
"""


def find():
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


def version(binary):
    text = subprocess.run([binary, "-v"], capture_output=True, text=True).stderr
    return re.search(r"nginx/(\S+)", text).group(1)


def head(stage, name, workers, modules=""):
    # As root, nginx would make its workers another user, who could read nothing in the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    return (f"{modules}{user} worker_processes {workers}; daemon off; pid {stage.path(name)}.pid; error_log stderr crit;\n"
            "events { worker_connections 16384; }\n")


def http_head(stage, name, access_log):
    log = f"{LOG}access_log {stage.path(name)}.access line buffer=64k flush=250ms;" if access_log == "on" else "access_log off;"
    temporary = " ".join(f"{kind}_temp_path {stage.path(name)}-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"{log} {temporary} keepalive_requests 1000000000; keepalive_timeout 600s; ssl_protocols TLSv1.3;\n"


def start_backend(stage, binary, address=SMALL_BACKEND):
    """The application: a reply of 128 bytes at /, one of a MiB at /1m; a body sent to /sink is read and thrown away."""
    with open(stage.path("1m"), "wb") as file:
        file.write(bytes(1 << 20))
    reply = "x" * REPLY_BYTES
    config = head(stage, "backend", 1) + "http { " + http_head(stage, "backend", "off") + f"""
  sendfile on; tcp_nopush on; client_max_body_size 0; client_body_buffer_size 2m;
  upstream nowhere {{ server {address}; keepalive 64; }}
  server {{
    listen {address} backlog=4096 reuseport;
    location / {{ default_type application/json; return 200 "{reply}"; }}
    location = /1m {{ default_type application/octet-stream; alias {stage.path("1m")}; }}
    # The body is read whole before anything is answered; the reply comes from / of this nginx, without the body.
    location = /sink {{
      proxy_pass http://nowhere/; proxy_method GET; proxy_pass_request_body off; proxy_set_header Content-Length "";
      proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }} }}
"""
    stage.start("backend", [binary, "-e", "stderr", "-c", stage.write("backend.conf", config)])
    stage.wait_for(f"http://{address}/", {})


class Nginx:
    def __init__(self, binary, name):
        self.binary, self.name = binary, name

    def version(self):
        return version(self.binary)

    def start(self, stage, setup, site):
        name = site.near_ip
        folder = certificates.make(stage.path(f"{name}-keys")) if setup.hops == 2 else ""
        make = self.http if setup.mode == "http" else self.stream
        parts = make(stage, name, setup, site, folder)
        groups = [[part] for part in parts] if setup.processes == "apart" else [parts]
        started = [self.run(stage, f"{name}-{index}", setup, group) for index, group in enumerate(groups)]
        stage.wait_for(f"http://{site.near}{setup.ready_path}", {"Host": HOST})
        return Target(self.name, site.near, started[:1], started[1:])

    def run(self, stage, name, setup, servers):
        if setup.mode == "http":
            config = head(stage, name, WORKERS) + "http { " + http_head(stage, name, setup.access_log)
        else:
            config = head(stage, name, WORKERS, self.stream_module()) + "stream { access_log off;\n"
        text = config + "\n".join(servers) + "\n}\n"
        return stage.start(name, [self.binary, "-e", "stderr", "-c", stage.write(f"{name}.conf", text)])

    def stream_module(self):
        # Beside the program where it is built so; else it is built in.
        module = os.path.join(os.path.dirname(os.path.abspath(self.binary)), "../lib/nginx/modules/ngx_stream_module.so")
        return f"load_module {module};\n" if os.path.exists(module) else ""

    def http(self, stage, name, setup, site, folder):
        onward = 'proxy_http_version 1.1; proxy_set_header Connection "";'
        # Bodies are passed on as they come, as nodes do it, and not stored in files first.
        common = "client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;"
        upstream = "upstream {} {{ server {}; keepalive 256; keepalive_requests 1000000000; }}"
        first = f"{upstream.format('local', setup.backend)} "
        last_hop = f"proxy_pass http://local; {onward}"
        if setup.hops == 1:
            return [f"{common} {first} {self.server(site, setup, last_hop)}"]
        to_far = (f"proxy_pass https://peer; {onward} proxy_ssl_certificate {folder}/near.crt; proxy_ssl_certificate_key {folder}/near.key; "
                  f"proxy_ssl_trusted_certificate {folder}/ca.crt; proxy_ssl_verify on; proxy_ssl_name far; proxy_ssl_protocols TLSv1.3;")
        both = "" if setup.processes == "together" else common
        return [f"{common} {upstream.format('peer', site.far)} {self.server(site, setup, to_far)}",
                f"{both} {first} server {{ listen {site.far} ssl reuseport backlog=4096; {accept(folder)} location / {{ {last_hop} }} }}"]

    def server(self, site, setup, work):
        if not setup.routes:
            locations = f"location / {{ {work} }}"
        else:
            locations = "\n".join(f"location = {path_of(index)} {{ {work} }}" for index in range(setup.routes))
        return f"server {{ listen {site.near} reuseport backlog=4096; {locations} }}"

    def stream(self, stage, name, setup, site, folder):
        if setup.hops == 1:
            return [f"server {{ listen {site.near} reuseport backlog=4096; proxy_pass {setup.backend}; }}"]
        group = f"proxy_ssl_conf_command Groups {setup.group};" if setup.group else ""
        # Every connection pays a full handshake, as between nodes.
        near = (f"server {{ listen {site.near} reuseport backlog=4096; proxy_pass {site.far}; proxy_ssl on; proxy_ssl_session_reuse off; {group} "
                f"proxy_ssl_certificate {folder}/near.crt; proxy_ssl_certificate_key {folder}/near.key; proxy_ssl_trusted_certificate {folder}/ca.crt; "
                "proxy_ssl_verify on; proxy_ssl_name far; proxy_ssl_protocols TLSv1.3; }")
        curve = f"ssl_ecdh_curve {setup.group};" if setup.group else ""
        far = (f"server {{ listen {site.far} ssl reuseport backlog=4096; ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_session_cache off; {curve} "
               f"{accept(folder)} proxy_pass {setup.backend}; }}")
        return [near, far]

    def supports(self, group, stage):
        """Whether this program knows a key exchange."""
        folder = certificates.make(stage.path(f"try-{self.name.replace(' ', '-')}-{group}"))
        config = head(stage, "try", 1) + "http { " + http_head(stage, "try", "off") + (
            f"server {{ listen 127.91.0.9:1 ssl; ssl_certificate {folder}/far.crt; ssl_certificate_key {folder}/far.key; ssl_ecdh_curve {group}; }} }}")
        path = stage.write(f"try-{group}.conf", config)
        return subprocess.run([self.binary, "-t", "-e", "stderr", "-c", path], capture_output=True).returncode == 0


def accept(folder):
    return (f"ssl_certificate {folder}/far.crt; ssl_certificate_key {folder}/far.key; ssl_client_certificate {folder}/ca.crt; ssl_verify_client on;")
