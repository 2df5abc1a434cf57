"""What `tests/bench/compare` and `tests/bench/instructions` are made of.

stage         a temporary folder and the processes of one measurement
processes     CPU time and memory of processes, from /proc
site          what is set up (Setup), where (Site), and what came of it (Target)
weft, nginx, haproxy, envoy    one proxy each: start(stage, setup, site) gives a Target
certificates  a certificate authority and two certificates for the other proxies
backends      the applications behind the proxies
loads         the clients before them
bench         what is compared, and how long
rounds        interleaved rounds, ratios within a round, tables
scenarios     what `compare` can measure, by name
callgrind     instructions and system calls of a node
versions      what took part
"""
