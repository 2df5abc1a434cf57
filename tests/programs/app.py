#!/usr/bin/env python3
"""An application for the tests: app.py NAME PORT [--slow S] [--status N] [--host NAME] [--tls FILE] [--tcp | --mute | --deaf].

GET /            200, the name (padded to eight bytes) and the path
GET /headers     200, the request's headers as JSON
GET /slow?S      200 after S seconds
GET /stream?N    200, N chunks, each sent 100 ms after the other
GET /status?N    status N
GET /reset       closes the connection without an answer
GET /ws          a WebSocket that echoes
GET /kept        200, the last body that was posted
POST /echo       200, the body
--slow S         GET / answers after S seconds
--status N       GET / answers with status N
--host NAME      any other host than this one gets 400, as frameworks with a list of hosts answer
--tls FILE       speaks TLS, with the certificate and key in this file
--tcp            instead: a TCP server that sends its name and a newline, then echoes
--mute           instead: a TCP server that takes connections and neither reads nor writes
--deaf           instead: a TCP server that reads a little and closes
"""
import base64
import hashlib
import json
import socketserver
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = sys.argv[1]
PORT = int(sys.argv[2])
KEPT = [b""]


def given(word, default):
    return sys.argv[sys.argv.index(word) + 1] if word in sys.argv else default


SLOW = float(given("--slow", "0"))
STATUS = int(given("--status", "200"))
HOST = given("--host", None)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, body, status=200, kind="text/plain"):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if HOST is not None and self.headers.get("host") != HOST:
            self.answer(b"no such host", 400)
        elif path == "/headers":
            self.answer(json.dumps([[k.lower(), v] for k, v in self.headers.items()]).encode(), kind="application/json")
        elif path == "/slow":
            time.sleep(float(query))
            self.answer(b"slow")
        elif path == "/stream":
            self.stream(int(query))
        elif path == "/status":
            self.answer(b"as asked", int(query))
        elif path == "/reset":
            self.close_connection = True
            self.connection.close()
        elif path == "/ws":
            self.websocket()
        elif path == "/kept":
            self.answer(KEPT[0], kind="application/octet-stream")
        else:
            time.sleep(SLOW)
            self.answer(f"{NAME:8}{self.path}".encode(), STATUS)

    def do_POST(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            length = int(self.headers.get("content-length", "0"))
            body = self.rfile.read(length)
            if len(body) < length:
                return
        KEPT[0] = body
        self.answer(body)

    def stream(self, count):
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(count):
            piece = f"piece {number}\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
            time.sleep(0.1)
        self.wfile.write(b"0\r\n\r\n")

    def websocket(self):
        key = self.headers["sec-websocket-key"].encode()
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "upgrade")
        self.send_header("sec-websocket-accept", base64.b64encode(hashlib.sha1(key + GUID).digest()).decode())
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        while head := self.rfile.read(2):
            length = head[1] & 0x7F
            mask = self.rfile.read(4)
            body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
            self.wfile.write(bytes([0x81, length]) + body)
            self.wfile.flush()


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(NAME.encode() + b"\n")
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Mute(socketserver.BaseRequestHandler):
    def handle(self):
        time.sleep(3600)


class Deaf(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(1024)


class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


class HttpServer(ThreadingHTTPServer):
    request_queue_size = 128


STREAMS = {"--tcp": Echo, "--mute": Mute, "--deaf": Deaf}
streams = [handler for word, handler in STREAMS.items() if word in sys.argv]
server = TcpServer(("127.0.0.1", PORT), streams[0]) if streams else HttpServer(("127.0.0.1", PORT), App)
if (own := given("--tls", None)) is not None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own)
    # Each handshake is made by the thread that serves it.
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
