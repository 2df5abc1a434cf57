"""A temporary folder and the processes of one measurement; both are gone when it ends, however it ends."""
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from . import processes

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
# A node that drains, or a proxy that waits for its clients, gets so long; then it is killed.
STOP_SECONDS = 10


ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_on_signals():
    """Ctrl-C and its like end the program by an exception, so that every stage is left in order; also where a shell had them ignored."""
    def end(*_):
        # Once: a second one would break off the putting in order.
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        sys.exit(130)
    for number in ENDING:
        signal.signal(number, end)


def die_with_parent():
    # Even where this program is killed: no proxy is left running.
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Stage:
    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="weft-compare-")
        self.started = []
        return self

    def __exit__(self, *_):
        # A second Ctrl-C would leave half of it behind.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
        try:
            self.stop()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def stop(self):
        for _, process in reversed(self.started):
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for _, process in self.started:
            family = processes.family([process.pid])
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                for pid in family:
                    processes.kill(pid)
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, name, text):
        path = pathlib.Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def start(self, name, command):
        """Starts a program; its output goes to NAME.log in the folder. Gives its process id."""
        with open(self.path(f"{name}.log"), "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, preexec_fn=die_with_parent)
        self.started.append((name, process))
        return process.pid

    def wait_for(self, url, headers, seconds=30):
        """Returns when URL answers 200; ends the program where that takes too long or one of the processes has ended."""
        last = None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=2) as reply:
                    reply.read()
                    return
            except (OSError, urllib.error.URLError) as error:
                last = error
            self.check()
            time.sleep(0.1)
        sys.exit(f"no answer from {url} with {headers}: {last}\n{self.logs()}")

    def check(self):
        for name, process in self.started:
            if process.poll() is not None:
                sys.exit(f"{name} ended with {process.returncode}: {' '.join(process.args)}\n{self.logs([name])}")

    def logs(self, names=None):
        texts = []
        for name, _ in self.started:
            text = pathlib.Path(self.path(f"{name}.log")).read_text(errors="replace")[-2000:]
            if text and (names is None or name in names):
                texts.append(f"--- {name}\n{text}")
        return "\n".join(texts)
