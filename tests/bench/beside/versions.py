"""The versions of all that took part, so that figures can be told apart later."""
import os
import platform
import re
import subprocess


def first_line(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return "missing"
    return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "unknown")


def processor():
    with open("/proc/cpuinfo") as file:
        found = re.search(r"model name\s*:\s*(.+)", file.read())
    return found.group(1) if found else platform.machine()


def all_of(proxies, backend):
    found = {proxy.name: f"{proxy.version()} ({proxy.binary})" for proxy in proxies}
    found["application"] = first_line(backend, "-v").removeprefix("nginx version: ")
    found["wrk"] = first_line("wrk", "-v").split(" [")[0]
    found["h2load"] = first_line("h2load", "--version")
    found["openssl"] = first_line("openssl", "version").split(" (")[0]
    found["machine"] = f"{os.cpu_count()} x {processor()}, Linux {platform.release()}, Python {platform.python_version()}"
    return found
