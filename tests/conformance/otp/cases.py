"""Random trees of supervisors and what happens to them, as scripts in the language of tests/support/policy_world.h.

Left out, because OTP 25 differs from the OTP 27 that is followed: auto_shutdown with simple_one_for_one (A11), and a
dynamic child whose restart is ignored, which OTP 25 goes on counting (E8).
Only supervisors without supervisors below are killed: OTP's would stop theirs in order, beside all else that goes on,
where ours are killed with it (G5).
"""
import random

PERIOD = 3600  # every restart of a case lies within it


class Case:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.lines = []
        self.workers = []
        self.sups = {}  # path -> [strategy, child names, what auto_shutdown is]
        self.simple = {}  # path -> the template's name and restart type
        self.flat = self.random.random() < 0.2  # a root with workers alone, whose starts may be held up
        self.hangs = set()
        self.slow = set()  # to stop: how slow depends on the machine
        self.significant = set()
        self.path_of = {}
        self.supervisors = set()
        self.spare = []
        self.labels = []
        self.count = 0

    def name(self, prefix):
        self.count += 1
        return f"{prefix}{self.count}"

    def spec(self, auto):
        restart = self.random.choice(["permanent", "transient", "temporary", "-"])
        significant = 0
        if auto in ("any", "all") and restart in ("transient", "temporary"):
            significant = self.random.randint(0, 1)
        return restart, significant

    def shutdown(self, name=None):
        if name in self.hangs:
            return "200"
        if name in self.slow:
            return "infinity"
        return self.random.choice(["-", "-", "infinity", "200", "brutal"])

    def worker(self, parent, auto, prefix="c"):
        name = self.name(prefix)
        restart, significant = self.spec(auto)
        shutdown = self.shutdown()
        if significant:
            self.significant.add(name)
        self.lines.append(f"child {name} {parent} {restart} {shutdown} {significant} timeout=none")
        if prefix == "t":
            self.simple[self.path_of[parent]] = [name, restart]
        behave = self.random.random()
        if behave < 0.1:
            how = self.random.choice(["normal", "reason", "abnormal"] + ["after:5"] * (shutdown != "200"))
            if how == "after:5":
                self.slow.add(name)
            self.lines.append(f"onstop {name} {how}")
        elif behave < 0.15 and shutdown == "200":
            self.lines.append(f"onstop {name} hang")
            self.hangs.add(name)
        if prefix != "t":
            self.workers.append(name)
        return name

    def auto(self, strategy):
        return self.random.choice(["never", "never", "any", "all"]) if strategy != "simple" else "never"

    def sup(self, name, parent, path, above, depth):
        r = self.random
        strategy = r.choice(["one", "all", "rest", "-"] if depth == 0 else ["one", "all", "rest", "simple", "simple"])
        auto = self.auto(strategy)
        intensity = r.choice([0, 1, 2, 3, 4, 6] if depth == 0 else [0, 0, 1, 1, 2, 3])
        restart, significant = self.spec(above)
        shutdown = r.choice(["-", "-", "infinity", "brutal"]) if depth == 2 else "-"
        self.lines.append(f"sup {name} {parent} {strategy} {intensity} {PERIOD} {auto}" +
                          (f" {restart} {shutdown} {significant}" if parent != "-" else ""))
        names = []
        self.sups[path] = [strategy, names, auto]
        self.path_of[name] = path
        self.supervisors.add(name)
        if strategy == "simple":
            self.worker(name, auto, "t")
            return
        for _ in range(r.randint(0 if depth else 1, 4)):
            if depth < 2 and not self.flat and r.random() < 0.25:
                below = self.name("s")
                self.sup(below, name, below if path == "root" else f"{path}/{below}", auto, depth + 1)
                names.append(below)
            else:
                names.append(self.worker(name, auto))

    def plan(self, name):
        r = self.random
        words = [r.choice(["fail", "fail", "ok", "ok" if name in self.labels else "ignore"])
                 for _ in range(r.randint(1, 4))]
        if r.random() < 0.15:
            words[-1] = "fail*"
        self.lines.append(f"plan {name} {' '.join(words)}")

    def declare_spare(self, names):
        spare = self.name("x")
        restart = self.random.choice(["permanent", "transient", "temporary"])
        significant = int(self.random.random() < 0.1)
        if significant:
            self.significant.add(spare)
        self.lines.append(f"child {spare} + {restart} - {significant} timeout=none")
        self.workers.append(spare)
        names.append(spare)
        return spare

    def change(self, path):
        """Other flags and specs for a supervisor that runs (L): some ids new, some no longer named."""
        r = self.random
        strategy, names, _ = self.sups[path]
        group = self.name("n")
        strategy = strategy if strategy == "simple" else r.choice(["one", "all", "rest"])
        auto = self.auto(strategy)
        self.lines.append(f"sup {group} + {strategy} {r.choice([0, 1, 2, 3, 4, 6])} {PERIOD} {auto}")
        if strategy == "simple":
            template, restart = self.simple[path]
            # OTP keeps no arguments for temporary ones, and cannot begin to amid it.
            restart = restart if restart == "temporary" else r.choice(["permanent", "transient"])
            self.simple[path][1] = restart
            self.lines.append(f"as {template} {group} {restart} {self.shutdown(template)} 0")
        else:
            named = [name for name in names if r.random() < 0.7]
            if r.random() < 0.5:
                r.shuffle(named)
            for name in named:
                restart, significant = self.spec(auto)
                shutdown = "-" if name in self.supervisors else self.shutdown(name)
                self.lines.append(f"as {name} {group} {restart} {shutdown} {significant}")
            new = [self.worker(group, auto) for _ in range(r.choice([0, 0, 1, 2]))]
            names += new
            self.sups[path][2] = auto
            self.sups[path][0] = strategy
        self.lines.append(f"change {path} {group}")

    def held(self, names):
        """A restart that hangs in its start; what is asked meanwhile waits for it (E1, E5, E6, J11)."""
        r = self.random
        held = r.choice(names)
        self.lines.append(f"plan {held} hang")
        self.lines.append(f"exit {held} abnormal")
        self.lines.append(f"plan {held} {r.choice(['ok', 'fail', 'fail fail', 'ignore'])}")
        for _ in range(r.randint(1, 5)):
            other = r.choice(names)
            asked = held if r.random() < 0.6 else other
            kind = r.random()
            if kind < 0.2 and other != held:
                self.lines.append(f"exit {other} {r.choice(['normal', 'abnormal', 'killed'])}")
            elif kind < 0.4 and asked not in self.significant:
                self.lines.append(f"add root {asked}")
            else:
                self.lines.append(f"{r.choice(['terminate', 'restart', 'delete'])} root {asked}")
        self.lines.append(f"go {held} {r.choice(['ok', 'fail', 'fail'])}")

    def event(self):
        r = self.random
        path = r.choice(list(self.sups))
        strategy, names, auto = self.sups[path]
        if r.random() < 0.06:
            self.change(path)
            return
        if self.flat and names and r.random() < 0.15:
            self.held(names)
            return
        if path != "root" and names and r.random() < 0.1:  # enough of one child to make its supervisor give up
            victim = r.choice(names)
            if strategy != "simple" and r.random() < 0.7:
                self.lines.append(f"add {path} {self.declare_spare(names)}")
            self.lines += [f"exit {victim} killed"] * 4
            return
        targets = names + [s for s in self.spare if r.random() < 0.5] or ["nobody"]
        kind = r.random()
        if kind < 0.45:
            pool = self.workers + self.labels
            victim = r.choice(pool) if pool else "nobody"
            if r.random() < 0.35:
                self.plan(r.choice(pool) if pool else "nobody")
            self.lines.append(f"exit {victim} " + r.choice(["normal", "shutdown", "reason", "abnormal", "killed"]))
        elif strategy == "simple" and kind < 0.75:
            if self.labels and r.random() < 0.3:
                self.lines.append(f"terminate_dyn {path} {r.choice(self.labels)}")
            else:
                self.labels.append(self.name("d"))
                if r.random() < 0.15:
                    self.plan(self.labels[-1])
                elif r.random() < 0.05:
                    self.lines.append(f"plan {self.labels[-1]} ignore")
                self.lines.append(f"dyn {path} {self.labels[-1]}")
        elif strategy != "simple" and kind < 0.58:
            # One spare child stands under one supervisor only: names are unique in a tree.
            spare = self.declare_spare(names)
            if r.random() < 0.2:
                self.plan(spare)
            self.lines.append(f"add {path} {spare}")
            if r.random() < 0.2:
                self.lines.append(f"add {path} {spare}")
        elif kind < 0.85:
            if r.random() < 0.2:
                self.plan(r.choice(targets))
            self.lines.append(f"{r.choice(['terminate', 'restart', 'delete'])} {path} {r.choice(targets)}")
        else:
            self.lines.append(f"{r.choice(['which', 'count'])} {path}")

    def script(self):
        self.lines += ["auto", "reports"]
        self.sup("top", "-", "root", "never", 0)
        for name in self.workers:
            if self.random.random() < 0.03:
                self.lines.append(f"plan {name} {self.random.choice(['fail', 'ignore'])}")
        for name in ["nobody"] + self.workers:
            if name == "nobody":
                self.lines.append("child nobody + - - 0")
        self.lines.append("start")
        for _ in range(self.random.randint(5, 25)):
            self.event()
        self.lines.append("which root")
        self.lines.append("count root")
        self.lines.append("stop")
        return self.lines
