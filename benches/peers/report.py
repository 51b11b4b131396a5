"""What came out?

A table (results.md) and a plot (results.svg), which stand in the repository, and some lines
for the page on sizing. Figures are medians of the turns; a ratio is taken within a turn.
"""

import math
import statistics

BASE = "nginx"


def write(found, directory, is_quick):
    """Writes what there is; of a quick look, only the table, and only to standard output."""
    figures = Figures(found["figures"])
    text = "\n".join([*table(found, figures), "", *caption(found)])
    print("\n" + text)
    if not is_quick:
        (directory / "results.md").write_text(
            "# Side by side\n\nMade by `make bench`; [README](../README.md) says how.\n\n" + text + "\n")
        (directory / "results.svg").write_text(plot(found, figures))
    print("\n" + "\n".join(sizing(figures)))


class Figures:
    """All figures, to be asked for."""

    def __init__(self, figures):
        self.of = {}
        for figure in figures:
            self.of.setdefault((figure["peer"], figure["scene"]), {})[figure["turn"]] = figure

    def get(self, peer, scene, name):
        """The median of the turns; None where there is none."""
        turns = self.of.get((peer, scene), {}).values()
        return statistics.median(turn[name] for turn in turns) if turns else None

    def ratio(self, peer, scene, name):
        """To the base, in the same turn."""
        mine, base = self.of.get((peer, scene), {}), self.of.get((BASE, scene), {})
        ratios = [mine[turn][name] / base[turn][name] for turn in mine.keys() & base.keys()]
        return statistics.median(ratios) if ratios else None

    def added(self, peer, name):
        """Microseconds that it adds to an answer at an even pace."""
        mine, direct = self.of.get((peer, "paced"), {}), self.of.get(("direct", "paced"), {})
        added = [mine[turn][name] - direct[turn][name] for turn in mine.keys() & direct.keys()]
        return statistics.median(added) if added else None

    def others(self):
        """Per cent of the processors that strangers took: the median, and the most."""
        shares = [turn["others"] for turns in self.of.values() for turn in turns.values() if "others" in turn]
        return statistics.median(shares), max(shares)


COLUMNS = (
    ("µs of CPU a message", lambda figures, peer: shown(figures.get(peer, "c16", "cpu"), 1)),
    ("× nginx", lambda figures, peer: shown(figures.ratio(peer, "c16", "cpu"), 2)),
    ("× nginx, 64 connections", lambda figures, peer: shown(figures.ratio(peer, "c64", "cpu"), 2)),
    ("messages/s, 64 connections", lambda figures, peer: shown(figures.get(peer, "c64", "rate"))),
    ("p99 of these, ms", lambda figures, peer: shown(milli(figures.get(peer, "c64", "p99")), 1)),
    ("p99 added at 800/s, µs", lambda figures, peer: shown(figures.added(peer, "p99"))),
    ("µs to refuse a message", lambda figures, peer: shown(figures.get(peer, "refused", "cpu"), 1)),
    ("µs of a 429", lambda figures, peer: shown(figures.get(peer, "limited", "cpu"), 1)),
    ("µs, TLS to the upstream", lambda figures, peer: shown(figures.get(peer, "tls", "cpu"), 1)),
    ("messages/s, two workers", lambda figures, peer: shown(figures.get(peer, "two", "rate"))),
    ("MiB idle", lambda figures, peer: shown(figures.get(peer, "idle", "memory"), 1)),
    ("MiB loaded", lambda figures, peer: shown(figures.get(peer, "c64", "memory"), 1)),
)


def table(found, figures):
    """One row for each peer, the cheapest first."""
    heads = ["", "leaves undone", *(head for head, _ in COLUMNS)]
    yield "| " + " | ".join(heads) + " |"
    yield "| --- | --- |" + " --: |" * len(COLUMNS)
    for name in ranked(found, figures):
        peer = found["peers"][name]
        title = f"**{peer['title']}**" if name == "portaria" else peer["title"]
        cells = [title, peer["lacks"] or "nothing", *(cell(figures, name) for _, cell in COLUMNS)]
        yield "| " + " | ".join(cells) + " |"


def ranked(found, figures):
    """The names of the peers, the cheapest first."""
    return sorted((name for name in found["peers"] if figures.get(name, "c16", "cpu")),
                  key=lambda name: figures.get(name, "c16", "cpu"))


def caption(found):
    """Where and what this was."""
    machine, (median, most) = found["machine"], Figures(found["figures"]).others()
    small, large = machine["messages"]
    versions = ", ".join(f"{peer['title']} {peer['version']}" for peer in found["peers"].values())
    yield (f"Messages of {small} and {large} bytes in turn, 64 keys, one worker on a processor of its own, "
           "16 connections where nothing else is said; load and upstream share another processor.")
    yield f"{machine['processors']}; {machine['system']}; {machine['day']}. {machine['load']}. {versions}."
    yield (f"Other processes took {median:.0f} % of the processors in the median and {most:.0f} % at most; "
           f"it took {found['seconds']} s.")
    for title, why in found["missing"].items():
        yield f"{title} is left out: {why}."


def sizing(figures):
    """The lines that benches/README.md has under "Sizing"."""
    get = lambda scene, name, digits=0: shown(figures.get("portaria", scene, name), digits)
    yield "For the page on sizing:"
    yield f"| messages a second, one core | {get('c64', 'rate')} |"
    yield f"| messages a second, two cores that the load and the upstream share | {get('two', 'rate')} |"
    yield f"| processor time for a message | {get('c16', 'cpu', 1)} µs |"
    yield f"| the same at 800 a second | {get('paced', 'cpu', 1)} µs |"
    yield f"| the same with TLS to the upstream | {get('tls', 'cpu', 1)} µs |"
    yield f"| memory, idle | {get('idle', 'memory', 1)} MiB |"
    yield f"| memory, 64 busy connections | {get('c64', 'memory', 1)} MiB |"


def shown(value, digits=0):
    """A figure, or that there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def milli(micros):
    """Microseconds as milliseconds."""
    return None if micros is None else micros / 1000


STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.quiet { fill: #656d76; font-size: 12px; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.dot { fill: #0969da; stroke: #0969da; stroke-width: 2; }
.part { fill: #ffffff; }
.ours { font-weight: 600; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .quiet { fill: #9198a1; }
  .grid { stroke: #3d444d; }
  .dot { fill: #4493f8; stroke: #4493f8; }
  .part { fill: #0d1117; }
}
""".strip()
WIDTH, LEFT, RIGHT, TOP, ROW = 760, 190, 60, 58, 28


def plot(found, figures):
    """A dot for each peer, on a scale of powers: full where it did the whole job."""
    names = ranked(found, figures)
    values = {name: figures.get(name, "c16", "cpu") for name in names}
    ticks = [tick for tick in (5, 10, 20, 50, 100, 200, 500, 1000, 2000)
             if min(values.values()) / 2.5 < tick < max(values.values()) * 2.5]
    low, high = math.log(min(ticks[0], *values.values())), math.log(max(ticks[-1], *values.values()))
    across = lambda value: LEFT + (math.log(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)
    bottom = TOP + ROW * len(names)
    height = bottom + 50
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
             'aria-label="Processor time for a message, by gateway">',
             f"<style>{STYLE}</style>",
             text(0, 18, "Processor time for a message, in microseconds; less is better", "ours"),
             text(0, 38, "● does the whole job   ○ does less: it looks into no message", "quiet")]
    for tick in ticks:
        at = across(tick)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(text(at, bottom + 16, str(tick), "quiet", "middle"))
    for row, name in enumerate(names):
        peer, at, down = found["peers"][name], across(values[name]), TOP + ROW * (row + 0.5)
        ours = "ours" if name == "portaria" else ""
        whole = "" if peer["lacks"] in ("", "log") else " part"
        parts.append(text(0, down + 4, peer["title"], ours))
        parts.append(f'<circle class="dot{whole}" cx="{at:.1f}" cy="{down}" r="6"/>')
        parts.append(text(at + 12, down + 4, f"{values[name]:.1f}", ours))
    machine = found["machine"]
    parts.append(text(0, bottom + 40, f"{machine['processors']}; {machine['system']}; {machine['day']}", "quiet"))
    return "\n".join([*parts, "</svg>", ""])


def text(across, down, words, kind, anchor="start"):
    """Some words."""
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{across:.1f}" y="{down:.1f}" class="{kind}" text-anchor="{anchor}">{words}</text>'
