"""Who is compared, and how is each set up?

Each peer does as much of the job as it can: it lets the same keys in from the same pages,
limits how often each may call, puts the upstream's token in place of the key, and writes a
line of its log for each request. What it looks like is in conf/. Only Portaria, Fastify and
Express look into a message.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import zlib

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
THERE = ROOT / "target" / "peers"
SCHEMA = ROOT / "schemas" / "whatsapp.schema.json"
UUID = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def gateway_key(name):
    """A key in Portaria's form: always the same for the same name."""
    key = "ptr_" + name.ljust(32, "0")
    rest, digits = zlib.crc32(key.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = BASE62[digit] + digits
    return key + digits


KEYS = [gateway_key(f"app{number:05}") for number in range(64)]
LIMITED_KEY = gateway_key("limited")


@dataclasses.dataclass(frozen=True)
class Peer:
    """One of those that are compared."""

    name: str
    title: str
    # What of the job it leaves undone.
    lacks: str
    # The files of conf/ that it wants, and how it is started; {} is their directory.
    files: tuple
    command: tuple
    # What tells its version.
    version: tuple
    environment: dict = dataclasses.field(default_factory=dict)
    checks_messages: bool = False
    limits_rate: bool = True
    # Node has to see its code run some time before it is fast.
    warm_up: int = 1


def here(program):
    """The program, from Debian or from target/peers."""
    places = [str(THERE / "python" / "bin"), os.environ["PATH"], "/usr/sbin"]
    return shutil.which(program, path=os.pathsep.join(places))


def envoy():
    """The program itself, which its package of PyPI starts by a script of Python."""
    found = list(THERE.glob("python/lib/python3*/site-packages/envoy/_bin/envoy"))
    return str(found[0]) if found else None


def all_peers(portaria):
    """All that there may be, in the order of the table."""
    node = dict(checks_messages=True, version=("node", "--version"), warm_up=4)
    node_files = ("common.mjs", "setting.json")
    return [
        Peer("relay", "a relay of bytes (HAProxy)", "everything", ("relay.cfg",),
             (here("haproxy"), "-db", "-f", "{}/relay.cfg"), ("haproxy", "-v"), limits_rate=False),
        Peer("portaria", "Portaria", "", ("portaria.toml", "token"),
             (portaria, "serve", "--config", "{}/portaria.toml"), (portaria, "--version"),
             checks_messages=True),
        Peer("nginx", "nginx", "schema", ("nginx.conf",),
             (here("nginx"), "-p", "{}", "-c", "{}/nginx.conf"), ("nginx", "-v")),
        Peer("haproxy", "HAProxy", "schema", ("haproxy.cfg", "keys.map"),
             (here("haproxy"), "-db", "-f", "{}/haproxy.cfg"), ("haproxy", "-v")),
        Peer("envoy", "Envoy", "schema", ("envoy.json",),
             (envoy(), "-c", "{}/envoy.json", "--concurrency", "{workers}", "--disable-hot-restart",
              "-l", "error"), (envoy(), "--version")),
        Peer("traefik", "Traefik", "schema", ("traefik.json",),
             (here("traefik"), "--entrypoints.web.address=127.0.0.1:{port}",
              "--entrypoints.web.transport.respondingtimeouts.idletimeout=300s",
              "--providers.file.filename={}/traefik.json", "--providers.file.watch=false",
              "--global.checknewversion=false", "--global.sendanonymoususage=false",
              "--log.level=ERROR", "--accesslog=true", "--accesslog.filepath={}/access.log",
              "--accesslog.bufferingsize=100"), ("traefik", "version"),
             {"GOMAXPROCS": "{workers}"}),
        Peer("caddy", "Caddy", "schema, rate", ("Caddyfile",),
             (here("caddy"), "run", "--config", "{}/Caddyfile", "--adapter", "caddyfile"),
             ("caddy", "version"),
             {"GOMAXPROCS": "{workers}", "XDG_DATA_HOME": "{}", "XDG_CONFIG_HOME": "{}"},
             limits_rate=False),
        Peer("fastify", "Fastify + ajv", "", ("fastify.mjs", *node_files),
             (here("node"), "{}/fastify.mjs", "{}/setting.json"),
             environment={"NODE_ENV": "production"}, **node),
        Peer("express", "Express + ajv", "log", ("express.mjs", *node_files),
             (here("node"), "{}/express.mjs", "{}/setting.json"),
             environment={"NODE_ENV": "production"}, **node),
    ]


def why_missing(peer):
    """Why it cannot take part; None if it can."""
    if peer.command[0] is None:
        return "it is not installed"
    if "common.mjs" in peer.files and not (THERE / "node_modules" / "ajv").is_dir():
        return "its packages of npm are not installed"
    return None


def version(peer):
    """What it says of itself."""
    program = here(peer.version[0]) or peer.version[0]
    said = subprocess.run([program, *peer.version[1:]], capture_output=True, text=True)
    found = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
    number = found.group() if found else "?"
    if peer.name in ("fastify", "express"):
        package = json.loads((THERE / "node_modules" / peer.name / "package.json").read_text())
        return f"{package['version']} on Node {number}"
    return number


def settings(directory, port, upstream, tls, workers):
    """What stands for the names in braces in conf/."""
    values = {
        "directory": str(directory), "port": port, "workers": workers, "uuid": UUID,
        "upstream_port": upstream["tls" if tls else "plain"], "scheme": "https" if tls else "http",
        "ca": upstream["ca"], "token": upstream["token"], "limited_key": LIMITED_KEY,
    }
    per_second = lambda count: {"max_tokens": count, "tokens_per_fill": count, "fill_interval": "1s"}
    rates = {key: 1_000_000 for key in KEYS} | {LIMITED_KEY: 1}
    values |= {
        "nginx_keys": lines(f'"Bearer {key}" free;' for key in KEYS),
        "haproxy_keys": lines(f"{key} 1000000000" for key in KEYS),
        "haproxy_tls": f"ssl verify required ca-file {upstream['ca']} sni str(localhost) verifyhost localhost" if tls else "",
        "caddy_keys": lines(f'"Bearer {key}" 1' for key in KEYS),
        "caddy_tls": f"tls\ntls_server_name localhost\ntls_trust_pool file {upstream['ca']}" if tls else "",
        "traefik_keys": "|".join(KEYS),
        "traefik_rule": f"Method(`POST`) && PathRegexp(`^/integrations/external/chats/{UUID}/messages/interactive$`)"
                        " && HeaderRegexp(`Origin`, `^https://(app|admin)\\\\.example\\\\.com$`)",
        "envoy_keys": json.dumps([{"key": key, "client": key} for key in rates]),
        "envoy_rates": json.dumps([
            {"entries": [{"key": "client", "value": key}], "token_bucket": per_second(rate)}
            for key, rate in rates.items()]),
        "envoy_tls": envoy_tls(upstream["ca"]) if tls else "",
        "portaria_tls": f'ca = "file:{upstream["ca"]}"' if tls else "",
        "portaria_keys": lines(portaria_key(number, key, rate) for number, (key, rate) in enumerate(rates.items())),
    }
    values["setting"] = json.dumps(values | {"keys": KEYS, "schema": str(SCHEMA)})
    return values


def lines(each):
    """One below the other."""
    return "\n".join(each)


def portaria_key(number, key, rate):
    """An entry of [[keys]]."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"""[[keys]]
name = "app{number}"
hash = "sha256:{digest}"
allowed_domains = ["https://app.example.com", "https://admin.example.com"]
rate_limit = {{ rate = "{rate}/s", burst = {rate} }}
"""


def envoy_tls(ca):
    """The part of Envoy's cluster that makes it speak TLS."""
    name = [{"san_type": "DNS", "matcher": {"exact": "localhost"}}]
    trusted = {"trusted_ca": {"filename": ca}, "match_typed_subject_alt_names": name}
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": "localhost", "common_tls_context": {"validation_context": trusted},
    }
    return ', "transport_socket": ' + json.dumps({"name": "tls", "typed_config": context})


class Running:
    """A peer that runs, with all its processes, on these processors."""

    def __init__(self, peer, upstream, processors, workers=1, tls=False):
        self.peer, self.port = peer, free_port()
        self.directory = THERE / "run" / peer.name
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        values = settings(self.directory, self.port, upstream, tls, workers)
        for file in peer.files:
            template = {"token": "{{token}}", "setting.json": "{{setting}}"}.get(file)
            template = template or (HERE / "conf" / file).read_text()
            text = re.sub(r"\{\{(\w+)\}\}", lambda found: str(values[found.group(1)]), template)
            (self.directory / file).write_text(text)
            (self.directory / file).chmod(0o600)
        fill = lambda word: (word.replace("{}", str(self.directory)).replace("{port}", str(self.port))
                             .replace("{workers}", str(workers)))
        # In a session of its own, so that all its processes can be ended together. What it
        # writes to standard output is its log.
        self.process = subprocess.Popen(
            [fill(word) for word in peer.command],
            env=os.environ | {name: fill(value) for name, value in peer.environment.items()},
            stdin=subprocess.DEVNULL, stdout=(self.directory / "output.log").open("wb"),
            stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, processors))
        self.wait_for_port()

    def wait_for_port(self):
        """Until it listens."""
        end = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.3).close()
                time.sleep(0.3)
                return
            except OSError:
                time.sleep(0.02)
        output = (self.directory / "output.log").read_text(errors="replace")
        self.end()
        raise RuntimeError(f"{self.peer.name} does not start: {output[-500:]}")

    def processes(self):
        """The numbers of its processes."""
        return descendants(self.process.pid)

    def end(self):
        """Ends its processes, and no others."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(3)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


def free_port():
    """A port that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def descendants(root):
    """A process, and those that it has started."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parent = int(stat[stat.rindex(")") + 2:].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, left = [], [root]
    while left:
        process = left.pop()
        found.append(process)
        left += children.get(process, [])
    return found
