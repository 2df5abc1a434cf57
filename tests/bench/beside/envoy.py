"""Envoy as a proxy: HTTP/2 between its two sides, as it is usual for it."""
import json
import re
import shutil
import subprocess

from . import certificates
from .site import HOST, Target, path_of

CONCURRENCY = 2
TYPES = "type.googleapis.com/envoy.extensions."
# The fields that a node's access log has.
LOG = {"at_ms": "%START_TIME(%s%3f)%", "method": "%REQ(:METHOD)%", "service": "%REQ(:AUTHORITY)%", "path": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%",
       "bytes": "%BYTES_SENT%", "took_ms": "%DURATION%", "upstream": "%UPSTREAM_HOST%", "trace": "%REQ(TRACEPARENT)%"}
TLS_1_3 = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}


def find():
    return shutil.which("envoy")


def typed(kind, name, **fields):
    return {"name": name, "typed_config": {"@type": TYPES + kind, **fields}}


def address(text):
    ip, port = text.split(":")
    return {"socket_address": {"address": ip, "port_value": int(port)}}


class Envoy:
    def __init__(self, binary, name):
        self.binary, self.name = binary, name

    def version(self):
        text = subprocess.run([self.binary, "--version"], capture_output=True, text=True).stdout
        return re.search(r"/(\d+\.\d+\.\d+)/[A-Z]", text).group(1)

    def start(self, stage, setup, site):
        name = site.near_ip
        if setup.hops == 1:
            sides = [self.config(stage, name, setup, site.near, setup.backend)]
        else:
            folder = certificates.make(stage.path(f"{name}-keys"))
            h2 = ["h2"] if setup.mode == "http" else []
            out = self.tls(folder, "near", h2, setup.group, "UpstreamTlsContext", sni="far", max_session_keys=0)
            into = self.tls(folder, "far", h2, setup.group, "DownstreamTlsContext", require_client_certificate=True, disable_stateless_session_resumption=True)
            sides = [self.config(stage, f"{name}-near", setup, site.near, site.far, out=out),
                     self.config(stage, f"{name}-far", setup, site.far, setup.backend, into=into)]
        started = [stage.start(f"{name}-{index}", [self.binary, "-c", path, "--concurrency", str(CONCURRENCY), "-l", "off", "--disable-hot-restart"])
                   for index, path in enumerate(sides)]
        stage.wait_for(f"http://{site.near}{setup.ready_path}", {"Host": HOST})
        return Target(self.name, site.near, started[:1], started[1:])

    def config(self, stage, name, setup, listen, to, into=None, out=None):
        """One side: INTO and OUT are its transport sockets, where not plain."""
        filters = self.http(stage, name, setup, into) if setup.mode == "http" else typed(
            "filters.network.tcp_proxy.v3.TcpProxy", "envoy.filters.network.tcp_proxy", stat_prefix="x", cluster="next")
        chain = {"filters": [filters], **({"transport_socket": into} if into else {})}
        most = {"max_connections": 16000, "max_pending_requests": 16000, "max_requests": 16000}
        cluster = {"name": "next", "type": "STATIC", "circuit_breakers": {"thresholds": [most]},
                   "load_assignment": {"cluster_name": "next", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(to)}}]}]}}
        if out:
            cluster["transport_socket"] = out
            if setup.mode == "http":
                kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
                cluster["typed_extension_protocol_options"] = {
                    kind: {"@type": f"type.googleapis.com/{kind}", "explicit_http_config": {"http2_protocol_options": {}}}}
        text = json.dumps({"static_resources": {"listeners": [{"address": address(listen), "filter_chains": [chain]}], "clusters": [cluster]}})
        return stage.write(f"{name}.json", text)

    def http(self, stage, name, setup, into):
        route = [{"match": {"prefix": "/"}, "route": {"cluster": "next", "timeout": "0s"}}]
        hosts = [{"name": "all", "domains": ["*"], "routes": route}]
        if setup.routes and not into:
            hosts = [{"name": "all", "domains": ["*"], "matcher": self.tree(setup.routes)}]
        fields = {"stat_prefix": "x", "generate_request_id": False, "route_config": {"virtual_hosts": hosts},
                  "http_filters": [typed("filters.http.router.v3.Router", "envoy.filters.http.router")]}
        if setup.access_log == "on":
            fields["access_log"] = [typed("access_loggers.file.v3.FileAccessLog", "envoy.access_loggers.file", path=stage.path(f"{name}.access"),
                                          log_format={"json_format": LOG})]
        return typed("filters.network.http_connection_manager.v3.HttpConnectionManager", "envoy.filters.network.http_connection_manager", **fields)

    def tree(self, count):
        """So many routes as a map by path: as a list, Envoy would try one after the other."""
        route = {"name": "route", "typed_config": {"@type": "type.googleapis.com/envoy.config.route.v3.Route",
                                                   "match": {"prefix": "/"}, "route": {"cluster": "next", "timeout": "0s"}}}
        path = {"name": "path", "typed_config": {"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": ":path"}}
        return {"matcher_tree": {"input": path, "exact_match_map": {"map": {path_of(index): {"action": route} for index in range(count)}}}}

    def tls(self, folder, side, alpn, group, kind, **fields):
        parameters = {**TLS_1_3, **({"ecdh_curves": [group]} if group else {})}
        common = {"tls_params": parameters, "alpn_protocols": alpn,
                  "tls_certificates": [{"certificate_chain": {"filename": f"{folder}/{side}.crt"}, "private_key": {"filename": f"{folder}/{side}.key"}}],
                  "validation_context": {"trusted_ca": {"filename": f"{folder}/ca.crt"}}}
        return typed(f"transport_sockets.tls.v3.{kind}", "envoy.transport_sockets.tls", common_tls_context=common, **fields)

    def supports(self, group, stage):
        """Whether this program knows a key exchange: BoringSSL has both since Envoy 1.33."""
        return group in ("X25519", "X25519MLKEM768")
