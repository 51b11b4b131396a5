#!/usr/bin/env python3
"""What do limits cost in Redis?

Starts a Redis on a unix socket and runs the real scripts of src/limiter in it: how much
memory a chat takes, and how many questions one Redis answers in a second. What this means
for many gateways is in deploy/SCALING.md. Ends by itself; the network is not used.

    python3 benches/scaling.py [CHATS]
"""

import hashlib
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

TAKE = (Path(__file__).parent.parent / "src/limiter/take.lua").read_bytes()
SHA = hashlib.sha1(TAKE).hexdigest()
# 10 a minute and 45 at once for a chat, 20 a second and 40 at once for a key.
CHAT, KEY, UPSTREAM = (6_000_000_000, 45), (50_000_000, 40), (1_000, 1_000_000)
BATCH = 500


def command(*words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    head = b"*%d\r\n" % len(words)
    return head + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def take(*buckets, pause=None):
    keys = [name for name, _ in buckets] + ([pause] if pause else [])
    limits = [number for _, limit in buckets for number in limit]
    return command("EVALSHA", SHA, len(keys), *keys, *limits)


def of_a_key(name="billing"):
    return take((f"portaria:{{{name}}}:key", (1_000, 1_000_000)))


def of_a_message(chat):
    return take(
        (f"portaria:{{main}}:chat:interactive:{chat}", CHAT),
        ("portaria:{main}:upstream", UPSTREAM),
        pause="portaria:{main}:pause",
    )


class Redis:
    def __init__(self, home):
        path = f"{home}/socket"
        arguments = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", home]
        self.process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(200):
            try:
                self.socket.connect(path)
                break
            except OSError:
                time.sleep(0.05)
        self.replies = self.socket.makefile("rb")
        self.ask(command("SCRIPT", "LOAD", TAKE))

    def ask(self, *questions):
        self.socket.sendall(b"".join(questions))
        return [self.reply() for _ in questions]

    def reply(self):
        line = self.replies.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"$":
            return self.replies.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return rest

    def memory(self):
        lines = self.ask(command("INFO", "memory"))[0].decode().splitlines()
        return int(next(line.split(":")[1] for line in lines if line.startswith("used_memory:")))

    def rate(self, questions):
        """Questions a second, with BATCH of them on their way at a time; CPU time too."""
        busy, began, count = self.cpu(), time.monotonic(), 0
        while time.monotonic() - began < 3:
            self.ask(*(questions(count + n) for n in range(BATCH)))
            count += BATCH
        return count / (time.monotonic() - began), (self.cpu() - busy) / count * 1e6

    def cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100


def main():
    chats = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    names = [uuid.UUID(int=n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)) for n in range(chats)]
    with tempfile.TemporaryDirectory() as home:
        redis = Redis(home)
        try:
            before = redis.memory()
            # Ten each, so that nothing is forgotten before it is counted: that takes a minute.
            for at in range(0, chats, BATCH):
                some = names[at : at + BATCH]
                redis.ask(*(of_a_message(chat) for chat in some for _ in range(10)))
            known = int(redis.ask(command("DBSIZE"))[0])
            per_chat = (redis.memory() - before) / known
            print(f"memory         {per_chat:8.0f} bytes a chat ({known} of {chats} not at rest)")
            for name, questions in [
                ("key", lambda n: of_a_key()),
                ("message", lambda n: of_a_message(names[n % chats])),
            ]:
                rate, micros = redis.rate(questions)
                print(f"{name:14} {rate:8.0f} questions a second, {micros:.1f} us of its processor each")
        finally:
            redis.process.kill()
            redis.process.wait()


if __name__ == "__main__":
    main()
