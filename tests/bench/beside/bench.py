"""What is compared, how long, and how a load is run against all of it: what every scenario starts from."""
import contextlib
import dataclasses

from . import backends, processes, rounds
from .site import BULK_BACKEND, sites
from .stage import Stage


@dataclasses.dataclass
class Bench:
    """What is compared, and how long."""
    proxies: list
    rounds: int
    seconds: int
    warm_seconds: int
    # "off", "on", or both.
    access_logs: list
    # "together" or "apart", see Setup.
    processes: str
    gigabytes: float
    idle_connections: int
    mib_per_second: int
    log: object

    @property
    def ours(self):
        return next((proxy.name for proxy in self.proxies if proxy.name.startswith("weft")), "")

    @contextlib.contextmanager
    def backing(self, backend):
        """A stage with the applications; it ends with the block."""
        with Stage() as stage:
            backends.start_small(stage)
            if backend == BULK_BACKEND:
                backends.start_bulk(stage)
            yield stage
            stage.check()

    @contextlib.contextmanager
    def running(self, setup, proxies=None):
        """The proxies, set up alike and answering; they end with the block."""
        chosen = self.proxies if proxies is None else proxies
        with self.backing(setup.backend) as stage:
            yield [proxy.start(stage, setup, site) for proxy, site in zip(chosen, sites(len(chosen)))]

    def table(self, title, targets, measure, compared="first"):
        self.log(f"measuring {title}")
        return rounds.table(title, rounds.run(targets, self.rounds, measure), self.ours, compared)

    def counted(self, target, load):
        """Warms up, then runs a load; gives what it counted and the CPU seconds of the proxy meanwhile."""
        if self.warm_seconds:
            load(self.warm_seconds)
        before = processes.cpu_seconds(target.pids)
        counted = load(self.seconds)
        return counted, processes.cpu_seconds(target.pids) - before
