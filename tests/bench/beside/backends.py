"""Starts the applications behind the proxies."""
import os
import sys

from . import nginx
from .site import BULK_BACKEND


def start_small(stage):
    """nginx with one worker: small replies, one of a MiB, and a sink."""
    binary = nginx.find() or sys.exit("nginx is needed as the application behind the proxies: apt-get install nginx")
    nginx.start_backend(stage, binary)


def start_bulk(stage):
    program = os.path.join(os.path.dirname(__file__), "bulk.py")
    stage.start("bulk", [sys.executable, "-B", program, *BULK_BACKEND.split(":")])
    stage.wait_for(f"http://{BULK_BACKEND}/", {})
