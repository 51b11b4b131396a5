#!/usr/bin/env python3
"""Which gateway does the job with how much of a processor?

Every peer gets the same messages, on one processor of its own; the load and the upstream
share another. What a message costs is what the scheduler says the peer's processes have
run for, divided by the messages: unlike messages a second, it hardly depends on who else
is busy. The peers come in turns, A to Z and then Z to A, and are compared within a turn.
Nothing leaves the loopback interface, and everything started here is ended here.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

import peers
import report

MESSAGES = peers.HERE.parent / "messages"
SMALL, LARGE, REFUSED = (str(MESSAGES / f"{name}.json") for name in ("small", "large", "refused"))
GATEWAY, LOAD = {0}, {1}
PAGE = "https://app.example.com"
# Messages a second, when nobody is to be busy.
PACE = 800
QUICK = ("direct", "portaria", "nginx", "haproxy", "fastify")


def main():
    """Compares, and reports."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rigs", help="the binary of the rigs; left out, it is built")
    parser.add_argument("--quick", action="store_true", help="fewer peers, one turn")
    parser.add_argument("--only", help="these peers, with commas between")
    parser.add_argument("--out", default=str(peers.HERE), help="where the table and the plot go")
    options = parser.parse_args()
    if os.cpu_count() < 2:
        sys.exit("two processors are needed: one for the gateway, one for the load")

    with Upstream(options.rigs) as upstream:
        found = compare(upstream, options)
    (peers.THERE / "result.json").write_text(json.dumps(found, indent=1))
    report.write(found, pathlib.Path(options.out), is_quick=options.quick)


def compare(upstream, options):
    """Takes the turns."""
    present, missing = [], {}
    for peer in peers.all_peers(upstream.addresses["portaria"]):
        wanted = options.only.split(",") if options.only else QUICK if options.quick else None
        if wanted and peer.name not in wanted:
            continue
        why = peers.why_missing(peer)
        if why:
            missing[peer.title] = why
            print(f"{peer.title} is left out: {why}", flush=True)
        else:
            present.append(peer)

    found = {"machine": machine(), "missing": missing, "figures": [],
             "peers": {peer.name: {"title": peer.title, "lacks": peer.lacks, "version": peers.version(peer)}
                       for peer in present}}
    began = time.monotonic()
    for turn in range(1 if options.quick else 2):
        Turn(turn, upstream, None, found["figures"]).direct()
        for peer in present if turn == 0 else present[::-1]:
            try:
                Turn(turn, upstream, peer, found["figures"]).take(is_long=turn == 0 and not options.quick)
            except RuntimeError as error:
                print(error, flush=True)
                missing[peer.title] = "it did not do its job here"
                found["figures"] = [figure for figure in found["figures"] if figure["peer"] != peer.name]
    found["seconds"] = round(time.monotonic() - began)
    return found


class Turn:
    """What is done with one peer, one after the other."""

    def __init__(self, turn, upstream, peer, figures):
        self.turn, self.upstream, self.peer, self.figures = turn, upstream, peer, figures

    def direct(self):
        """How long an answer takes without a gateway."""
        self.note("paced", paced(self.upstream.plain, []), name="direct")

    def take(self, is_long):
        """All of it."""
        peer = self.peer
        with Run(peer, self.upstream, GATEWAY) as run:
            self.note("idle", {"memory": memory(run.processes())})
            self.check(run)
            run.closed(16, peer.warm_up)
            self.note("c16", run.closed(16, 2))
            self.note("c64", run.closed(64, 2))
            self.note("paced", run.paced())
            if peer.checks_messages:
                self.note("refused", run.closed(16, 1, message=REFUSED))
            if peer.limits_rate:
                self.note("limited", run.closed(16, 1, key=peers.LIMITED_KEY))
        if is_long:
            with Run(peer, self.upstream, GATEWAY | LOAD, workers=2) as run:
                run.closed(64, peer.warm_up)
                self.note("two", run.closed(64, 2, processors=GATEWAY | LOAD))
        if is_long and peer.name != "relay":
            with Run(peer, self.upstream, GATEWAY, tls=True) as run:
                run.closed(16, peer.warm_up)
                self.note("tls", run.closed(16, 2))

    def check(self, run):
        """Whether it does what it is said to."""
        key = peers.KEYS[0]
        expected = [("a small message", SMALL, key, PAGE, {200}), ("a large message", LARGE, key, PAGE, {200})]
        if self.peer.name != "relay":
            expected += [("a wrong key", SMALL, "ptr_wrong", PAGE, {401, 404}),
                         ("another page", SMALL, key, "https://evil.example", {403, 404})]
        if self.peer.checks_messages:
            expected.append(("a message that breaks a rule", REFUSED, key, PAGE, {400, 422}))
        for what, message, key, page, statuses in expected:
            status = run.status(message, key, page)
            if status not in statuses:
                raise RuntimeError(f"{self.peer.name} answers {what} with {status}")
        # On a slow machine, a second has gone by between two of them.
        often = (run.status(SMALL, peers.LIMITED_KEY, PAGE) for _ in range(20))
        if self.peer.limits_rate and 429 not in often:
            raise RuntimeError(f"{self.peer.name} lets in whoever comes too often")

    def note(self, scene, figures, name=None):
        """Keeps the figures, and shows them."""
        name = name or self.peer.name
        self.figures.append({"peer": name, "scene": scene, "turn": self.turn, **figures})
        shown = "  ".join(f"{key} {value:,.1f}" for key, value in figures.items())
        print(f"{self.turn}  {name:10} {scene:8} {shown}", flush=True)


class Run(peers.Running):
    """A peer that runs, and what can be asked of it."""

    def __init__(self, peer, upstream, processors, workers=1, tls=False):
        self.upstream = upstream
        super().__init__(peer, upstream.addresses, processors, workers, tls)

    def __enter__(self):
        # Some listen before they know what to do.
        end = time.monotonic() + 20
        while self.status(SMALL, peers.KEYS[0], PAGE) != 200 and time.monotonic() < end:
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        self.end()

    def status(self, message, key, page):
        """How it answers one message."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{PATH}", pathlib.Path(message).read_bytes(),
            {"Authorization": f"Bearer {key}", "Origin": page, "Content-Type": "application/json",
             "Host": "gateway.internal"})
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                response.read()
                return response.status
        except urllib.error.HTTPError as error:
            return error.code

    def closed(self, connections, seconds, message=None, key=None, processors=LOAD):
        """So many connections that each send the next message when they have an answer."""
        environment = os.environ | {"KEYS": str(peers.THERE / "keys"), "MESSAGES": message or f"{SMALL} {LARGE}"}
        if key:
            environment["ONE_KEY"] = key
        strangers = self.upstream.strangers()
        processes, cost = self.processes(), Cost(self)
        wrk = subprocess.Popen(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
             "-s", str(peers.HERE / "conf" / "messages.lua"), f"http://127.0.0.1:{self.port}/"],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, processors))
        time.sleep(seconds * 0.6)
        loaded = memory(processes)
        said = wrk.communicate(timeout=seconds + 20)[1]
        found = json.loads(said.strip().splitlines()[-1])
        count = found["requests"]
        # After a refusal the connection may end.
        if not message and not key and (found["broken"] or found["not_200"]):
            raise RuntimeError(f"{self.peer.name}: not every message was answered well: {found}")
        if self.peer.name != "relay" and self.upstream.strangers() != strangers:
            raise RuntimeError(f"{self.peer.name}: messages went out without the token")
        return {"cpu": cost.micros() / max(count, 1), "rate": count / found["micros"] * 1e6,
                "p50": found["p50"], "p99": found["p99"], "memory": loaded, "others": cost.others()}

    def paced(self):
        """A pace at which nobody is busy: what counts is how long an answer takes."""
        cost = Cost(self)
        found = paced(self.port, self.processes())
        return {"cpu": cost.micros() / found["requests"], **found, "others": cost.others()}


PATH = "/integrations/external/chats/0192f3a4-5b6c-7d8e-9f00-000000000001/messages/interactive"


def paced(port, processes):
    """Large messages at PACE, over 16 connections; direct where there is no peer."""
    log = peers.THERE / "paced.log"
    log.unlink(missing_ok=True)
    subprocess.run(
        ["h2load", "--h1", "-c16", "-t1", f"--rps={PACE // 16}", "-D3", "-d", LARGE, f"--log-file={log}",
         "-H", f"Authorization: Bearer {peers.KEYS[0]}", "-H", f"Origin: {PAGE}",
         "-H", "Content-Type: application/json", f"http://127.0.0.1:{port}{PATH}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30, check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, LOAD))
    rows = [[int(field) for field in line.split("\t")] for line in log.read_text().splitlines()]
    if not rows or any(status != 200 for _, status, _ in rows):
        raise RuntimeError("not every message at an even pace was answered well")
    # Without the first moments, in which connections are opened.
    start = min(at for at, _, _ in rows) + 300_000
    took = sorted(time for at, _, time in rows if at > start)
    return {"requests": len(rows), "p50": statistics.median(took), "p99": took[len(took) * 99 // 100]}


class Cost:
    """What a peer's processes have run for since now, and what everybody else has."""

    def __init__(self, run):
        self.run = run
        self.before = self.now()

    def now(self):
        """Nanoseconds of the peer; seconds of all processors, and of all that is ours."""
        mine = ran_for(self.run.processes())
        busy = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        ours = (mine + ran_for(peers.descendants(self.run.upstream.process.pid))) / 1e9
        load = resource.getrusage(resource.RUSAGE_CHILDREN)
        ticks = os.sysconf("SC_CLK_TCK")
        return (mine, (sum(busy) - busy[3] - busy[4]) / ticks, ours + load.ru_utime + load.ru_stime,
                time.monotonic())

    def micros(self):
        """Of the peer."""
        return (self.now()[0] - self.before[0]) / 1000

    def others(self):
        """How many per cent of all processors were taken by strangers."""
        (_, busy, ours, at), (_, busy0, ours0, at0) = self.now(), self.before
        share = (busy - busy0 - (ours - ours0)) / (at - at0) / os.cpu_count()
        return max(0.0, share * 100)


def ran_for(processes):
    """Nanoseconds that all their threads have run."""
    total = 0
    for process in processes:
        for task in pathlib.Path(f"/proc/{process}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except OSError:
                pass
    return total


def memory(processes):
    """MiB that they take; what they share counts once."""
    total = 0
    for process in processes:
        try:
            text = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


class Upstream:
    """The upstream, on the processor of the load."""

    def __init__(self, rigs):
        peers.THERE.mkdir(parents=True, exist_ok=True)
        (peers.THERE / "keys").write_text("\n".join(peers.KEYS) + "\n")
        command = [rigs] if rigs else ["cargo", "bench", "--locked", "--quiet", "--bench", "rigs", "--"]
        if not rigs:
            # Not on one processor alone.
            subprocess.run([*command[:-1], "--no-run"], cwd=peers.ROOT, check=True)
        self.process = subprocess.Popen(
            [*command, "upstream", str(peers.THERE)], cwd=peers.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, LOAD))
        self.addresses = json.loads(self.process.stdout.readline())
        self.plain = self.addresses["plain"]

    def strangers(self):
        """Messages without the token so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.plain}/counts", timeout=5) as response:
            return json.load(response)["strangers"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(10)


def machine():
    """Where this ran."""
    text = pathlib.Path("/proc/cpuinfo").read_text()
    models = [line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")]
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    tool = lambda *command: subprocess.run(command, capture_output=True, text=True).stdout
    return {"processors": f"{os.cpu_count()} × {models[0] if models else platform.machine()}",
            "system": f"{system}, Linux {platform.release()}", "day": time.strftime("%Y-%m-%d"),
            "load": f"{tool('wrk', '-v').split(' [')[0]}, {tool('h2load', '--version').strip()}",
            "messages": [pathlib.Path(path).stat().st_size for path in (SMALL, LARGE)]}


if __name__ == "__main__":
    main()
