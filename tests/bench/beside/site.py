"""What is set up for a measurement, where, and what came of it."""
import dataclasses

# The applications behind every proxy: nginx for requests, `bulk.py` for streams and large bodies.
SMALL_BACKEND = "127.91.0.1:19000"
BULK_BACKEND = "127.91.0.1:19001"
# The service that every request names. All proxies get the same bytes; those that have only one way to go do not read it.
SERVICE = "backend"
HOST = f"{SERVICE}.weft.internal"
REPLY_BYTES = 128
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Setup:
    """What stands between client and application, the same for every proxy."""
    # "http" or "tcp".
    mode: str = "http"
    # 1: plain in, plain out. 2: plain, then mutual TLS 1.3 to a second proxy, then plain.
    hops: int = 1
    backend: str = SMALL_BACKEND
    # "off" or "on".
    access_log: str = "off"
    # So many routes are known, each for one path (`path_of`) and all to the application; other paths have none then.
    routes: int = 0

    # "together": nginx and HAProxy serve both hops in one process. "apart": each hop has its own, as nodes do.
    processes: str = "together"
    # The key exchange between two hops; None is what each program prefers. Nodes choose their own always.
    group: str | None = None

    @property
    def ready_path(self):
        """A path that is answered when all is set up."""
        return path_of(self.routes - 1) if self.routes else "/"


@dataclasses.dataclass(frozen=True)
class Site:
    """The addresses of one proxy: clients reach `near`, which reaches `far` where there are two hops."""
    near_ip: str
    far_ip: str

    @property
    def near(self):
        return f"{self.near_ip}:8080"

    @property
    def far(self):
        return f"{self.far_ip}:8443"


@dataclasses.dataclass
class Target:
    """A proxy that runs and answers."""
    name: str
    address: str
    near: list
    far: list = dataclasses.field(default_factory=list)

    @property
    def pids(self):
        return [*self.near, *self.far]

    @property
    def url(self):
        return f"http://{self.address}"


def sites(count):
    # 127.91/16 is ours alone: the tests of the checkout may run at the same time.
    return [Site(f"127.91.{10 + index}.1", f"127.91.{10 + index}.2") for index in range(count)]


def path_of(index):
    return f"/r{index:05}"
