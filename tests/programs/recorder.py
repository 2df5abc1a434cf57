#!/usr/bin/env python3
"""An application that tells how Python's http.server framed what it got: recorder.py PORT.

Answers every request with 200 and writes a JSON line for it: status, method, target, body (in hexadecimal digits). What the server
refuses by itself has a line, too, with the status that it gave.
"""
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def tell(status, method, target, body):
    line = {"status": status, "method": method, "target": target, "body": body.hex()}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Recorder(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def send_error(self, code, message=None, explain=None):
        tell(int(code), self.command or "", self.raw_requestline.decode("latin-1").strip(), b"")
        super().send_error(code, message, explain)

    def line(self):
        line = self.rfile.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line.strip()

    def exactly(self, length):
        body = self.rfile.read(length)
        if len(body) < length:
            raise EOFError
        return body

    def whole_body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.exactly(int(self.headers.get("content-length", "0")))
        body = b""
        while size := int(self.line(), 16):
            body += self.exactly(size)
            self.line()
        while self.line():
            pass
        return body

    def record(self):
        try:
            body = self.whole_body()
        except (EOFError, ConnectionError):
            tell(0, self.command, self.path, b"")
            self.close_connection = True
            return
        tell(200, self.command, self.path, body)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.record
        raise AttributeError(name)


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Recorder).serve_forever()
