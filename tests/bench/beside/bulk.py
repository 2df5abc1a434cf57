"""An application for streams and large bodies: `bulk.py IP PORT` answers HTTP/1.1 until it is killed.

GET /?bytes=N answers with N bytes; PUT or POST throws the body away, and answers when all of it is here. `&mib_per_second=R` slows its
reading of a body to R MiB a second. The bytes are handed over by the kernel in both directions, so that it is never the slow part.
"""
import os
import socket
import sys
import threading
import time
import urllib.parse

CHUNK = 1 << 20
PIECE = 64 << 20


def send_bytes(connection, source, count):
    """Sends so many bytes from a file that is shorter, again and again."""
    while count:
        count -= os.sendfile(connection.fileno(), source, 0, min(count, PIECE))


def throw_away(connection, count, buffer, mib_per_second=0):
    """Reads so many bytes without looking at them; gives how many did not come."""
    started, taken = time.monotonic(), 0
    while taken < count:
        got = connection.recv_into(buffer, min(count - taken, len(buffer)), socket.MSG_TRUNC)
        if not got:
            break
        taken += got
        if mib_per_second:
            time.sleep(max(0, started + taken / CHUNK / mib_per_second - time.monotonic()))
    return count - taken


def source_file():
    source = os.memfd_create("bulk")
    os.truncate(source, PIECE)
    return source


def read_head(connection, rest):
    """Gives the head's lines and what came after it; no lines where the other side has closed."""
    while b"\r\n\r\n" not in rest:
        more = connection.recv(65536)
        if not more:
            return [], b""
        rest += more
    head, _, rest = rest.partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), rest


def length_of(lines):
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


def serve(connection, source):
    buffer, rest = bytearray(CHUNK), b""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        while True:
            lines, rest = read_head(connection, rest)
            if not lines:
                return
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(lines[0].split()[1]).query)
            number = {key: int(value[0]) for key, value in query.items()}
            length, count = length_of(lines), number.get("bytes", 0)
            early = len(rest[:length])
            rest = rest[early:]
            if throw_away(connection, length - early, buffer, number.get("mib_per_second", 0)):
                return
            connection.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {count}\r\n\r\n".encode())
            send_bytes(connection, source, count)


def main():
    source = source_file()
    listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=1024)

    def one(connection):
        try:
            serve(connection, source)
        except OSError:
            pass

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=one, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
