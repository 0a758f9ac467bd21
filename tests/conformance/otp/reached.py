"""Which statements about OTP's behaviour a script comes to, read from the script and from what the policy said.

A statement with several cases has a row for each. Not compared, for what OTP has no counterpart to, or keeps to itself:
A (what is refused before anything starts, but for A9 and A10), B5 to B9, E7, F3, F4, F7, F8, G5, H3 to H9, J9, J10, J13,
K8, K9, L5 and Q; these have unit tests (tests/unit/test_policy*.c, test_supervisor.c).
"""
from collections import Counter

STATEMENTS = """
A9 significant without auto_shutdown
B1 one after another
B2 ready when all are
B3 a failing child ends the start
B4 ignore, kept
B4 ignore, temporary
C1 permanent normal
C1 permanent shutdown
C1 permanent reason
C1 permanent abnormal
C1 permanent killed
C2 transient, clean
C2 transient, abnormal
C3 temporary
C4 a clean exit counts
C6 a record
D1 one_for_one
D2 one_for_all
D3 rest_for_one
D4 temporary siblings
D5 siblings that did not run
D6 siblings untouched
D7 a group costs one
D8 intensity before siblings
D9 all of the group anew
E1 tried again at once
E1 after what is queued
E2 each attempt counts
E3 one_for_all, a sibling fails
E4 rest_for_one, one after it fails
E5 asked while restarting
E6 terminated while restarting
E8 ignored at a restart
F1 too many
F2 one window for all
F5 restarts by hand are free
F6 other flags, the same window
G1 the others stop
G2 permanent
G2 transient
G2 temporary
G3 the static children only
G4 the root gives up
H1 backwards
H2 killed after its time
I1 any_significant
I1 significant, and crashes
I2 all_significant
I2 not the last
I3 terminated
I4 not significant
I5 chain
I6 changed
J1 ok
J1 already_started
J1 already_present
J1 start_error
J2 at the end
J3 ok
J3 not running
J3 not_found
J4 siblings stay
J5 ok
J5 running
J5 restarting
J5 not_found
J5 start_error
J6 ok
J6 running
J6 restarting
J6 not_found
J7 which_children
J8 count_children
J11 in order
J12 noproc
K1 rows without ids
K2 ok
K2 start_error
K3 by id
K3 by instance
K4 the arguments again
K5 all at once
K6 counts
K7 shared window
L1 other flags
L2 the same id
L3 new ids
L3 ids no longer named
L4 template
""".strip().splitlines()

CLEAN = ("normal", "shutdown", "reason")


class Sup:
    def __init__(self, words):
        self.strategy, self.intensity, self.auto = words[3], int(words[4]), words[6]
        self.children = []
        self.added = self.changed = False
        self.restarted = set()  # children that cost a restart


class Reached:
    """One script, statement by statement."""

    def __init__(self):
        self.found = set()
        self.rules = {}      # child: restart type, significant
        self.rules_in = {}   # the same by group and child, until a change
        self.above = {}      # child: its supervisor
        self.sups = {}
        self.root = None
        self.shutdown = {}
        self.hang = set()
        self.alive = set()
        self.labels = {}     # dynamic child: its supervisor
        self.held = None     # what is asked while a start hangs
        self.by_hand = Counter()

    def mark(self, statement, condition=True):
        if condition:
            assert statement in STATEMENTS, statement
            self.found.add(statement)

    # What a script declares.

    def declare_sup(self, words):
        self.sups[words[1]] = Sup(words)
        if words[2] == "-":
            self.root = words[1]
        if len(words) > 9:
            self.declare_child([words[0], words[1], words[2], *words[7:10]])

    def declare_child(self, words):
        _, name, parent, restart, shutdown, significant = words[:6]
        self.rules_in[parent, name] = ("permanent" if restart == "-" else restart, significant == "1", shutdown)
        self.rules.setdefault(name, self.rules_in[parent, name])
        if parent in self.sups:
            self.sups[parent].children.append(name)
            self.above.setdefault(name, parent)

    def sup_of(self, name):
        parent = self.labels.get(name) or self.above.get(name)
        return parent, self.sups.get(parent)

    def named(self, path):
        return self.root if path == "root" else path.split("/")[-1]

    def others(self, name):
        """Siblings that run."""
        parent, sup = self.sup_of(name)
        below = sup.children if sup else []
        return [child for child in below if child != name and self.runs(child)]

    def runs(self, name):
        if name in self.sups:
            return any(self.runs(child) for child in self.sups[name].children)
        return name in self.alive

    # What happened.

    def see(self, line, said):
        words = line.split()
        trace = [word for word in said[2:].split(", ") if word]
        reports = [word.split()[1:3] for word in trace if word.startswith("report ")]
        acts = [word.split() for word in trace if not word.startswith("report ")]
        replies = [act[1] for act in acts if act[0] in ("reply", "refused")]
        acts = [act for act in acts if act[0] not in ("reply", "refused")]
        kind = words[0]
        if kind in ("sup", "child", "as"):
            {"sup": self.declare_sup}.get(kind, self.declare_child)(words)
            return
        if kind == "onstop" and words[2] == "hang":
            self.hang.add(words[1])
        handler = getattr(self, "on_" + kind, None)
        if handler:
            handler(words, acts, reports, replies)
        self.everywhere(acts, reports, replies)
        if kind == "exit" and acts[:1] != [["not", "running"]]:
            self.alive.discard(words[1])
        for act in acts:
            if act[0] == "start":
                self.alive.add(act[1])
            elif act[0] in ("stop", "kill", "fail", "ignore"):
                self.alive.discard(act[1])

    def everywhere(self, acts, reports, replies):
        self.mark("A9 significant without auto_shutdown", "bad_combination" in replies)
        self.mark("J12 noproc", "noproc" in replies)
        signalled = {act[1] for act in acts if act[0] == "signal"}
        self.mark("H2 killed after its time", any(act[0] == "kill" and act[1] in signalled & self.hang for act in acts))
        for act in acts:
            if act[0] == "ignore" and act[1] in self.rules:
                self.mark("B4 ignore, temporary" if self.rules[act[1]][0] == "temporary" else "B4 ignore, kept")
        for context, child in reports:
            if context == "child_terminated":
                self.mark("C6 a record")
        if any(act[0] == "begin" for act in acts):
            self.held = []
        self.see_ends(acts, reports)

    def see_ends(self, acts, reports):
        ended = [child for context, child in reports if context == "auto_shutdown"]
        self.mark("I5 chain", len(ended) > 1 or any(
            not self.rules.get(self.sup_of(child)[0], (0, 0))[1] and self.sup_of(child)[0] != self.root
            for child in ended))
        for child in ended:
            _, sup = self.sup_of(child)
            self.mark("I1 any_significant", sup.auto == "any")
            self.mark("I2 all_significant", sup.auto == "all")
            self.mark("I6 changed", sup.changed)
        for context, child in reports:
            if context != "shutdown":
                continue
            name, sup = self.sup_of(child)
            if sup is None:
                continue
            self.mark("F1 too many", sup.intensity > 0)
            self.mark("F2 one window for all", len(sup.restarted | {child}) > 1)
            self.mark("F6 other flags, the same window", sup.changed and sup.restarted)
            self.mark("E2 each attempt counts", ["start_error", child] in reports)
            self.mark("K7 shared window", sup.strategy == "simple")
            if name == self.root:
                self.mark("G4 the root gives up")
            else:
                self.mark("G2 " + self.rules[name][0])
                restarted = any(act[0] == "start" and act[1] in sup.children for act in acts)
                self.mark("G3 the static children only", sup.added and restarted)
            sup.restarted = set()

    def on_start(self, words, acts, reports, replies):
        starts = [act for act in acts if act[0] == "start"]
        ready = ["ready"] in acts
        self.mark("B1 one after another", len(starts) > 1)
        self.mark("B2 ready when all are", ready)
        self.mark("B3 a failing child ends the start", not ready and any(act[0] == "fail" for act in acts))

    def on_stop(self, words, acts, reports, replies):
        self.mark("H1 backwards", sum(act[0] in ("stop", "signal") for act in acts) > 1)
        for name, sup in self.sups.items():
            if sup.strategy == "simple":
                self.mark("K5 all at once", sum(label in self.alive for label, at in self.labels.items() if at == name) > 1)

    def on_exit(self, words, acts, reports, replies):
        name, how = words[1], words[2]
        if acts[:1] == [["not", "running"]] or name not in self.rules and name not in self.labels:
            return
        parent, sup = self.sup_of(name)
        if sup is None:
            return
        template = sup.children[0] if sup.strategy == "simple" and sup.children else name
        restart, significant, _ = self.rules[template]
        clean = how in CLEAN
        if self.held is not None:
            return
        if restart == "permanent":
            self.mark(f"C1 permanent {how}")
        elif restart == "transient":
            self.mark("C2 transient, clean" if clean else "C2 transient, abnormal")
        else:
            self.mark("C3 temporary")
        over = ["shutdown", name] in reports or sup.strategy == "simple" and any(c == "shutdown" for c, _ in reports)
        if restart == "permanent" or restart == "transient" and not clean:
            self.mark("C4 a clean exit counts", clean and over)
            self.mark("I1 significant, and crashes", significant and sup.auto == "any" and not over)
            self.see_restart(name, sup, acts, over)
            sup.restarted.add(name)
            return
        ends = any(context == "auto_shutdown" for context, _ in reports)
        self.mark("I4 not significant", sup.auto in ("any", "all") and not significant)
        self.mark("I2 not the last", sup.auto == "all" and significant and not ends)
        self.mark("D6 siblings untouched", sup.strategy in ("all", "rest") and self.others(name) and not ends)

    def see_restart(self, name, sup, acts, over):
        others = self.others(name)
        stopped = [act[1] for act in acts if act[0] in ("stop", "signal", "kill") and act[1] in others]
        started = [act[1] for act in acts if act[0] in ("start", "fail", "ignore")]
        group = sup.strategy in ("all", "rest")
        if over:
            self.mark("G1 the others stop", others)
            self.mark("D8 intensity before siblings", group and others)
            return
        self.mark("D1 one_for_one", sup.strategy in ("one", "-") and others and acts == [["start", name]])
        self.mark("D2 one_for_all", sup.strategy == "all" and stopped)
        self.mark("D3 rest_for_one", sup.strategy == "rest" and stopped and len(stopped) < len(others))
        self.mark("K4 the arguments again", sup.strategy == "simple" and name in started)
        self.mark("E8 ignored at a restart", sup.strategy in ("one", "-") and ["ignore", name] in acts)
        if group and stopped:
            self.mark("D4 temporary siblings", any(self.rules[child][0] == "temporary" for child in stopped))
            self.mark("D5 siblings that did not run",
                      any(act[0] == "start" and act[1] in sup.children and act[1] != name and not self.runs(act[1])
                          for act in acts))
            self.mark("D7 a group costs one", len(stopped) > 1 and len(stopped) > sup.intensity - len(sup.restarted))
            self.mark("D9 all of the group anew", set(stopped) & set(started))
        fails = [act[1] for act in acts if act[0] == "fail"]
        for child in set(fails):
            self.mark("E1 tried again at once", started.count(child) > 1)
        if fails and fails[0] != started[0] and fails[0] in sup.children:
            self.mark("E3 one_for_all, a sibling fails", sup.strategy == "all")
            self.mark("E4 rest_for_one, one after it fails", sup.strategy == "rest")

    # What was asked.

    def ask(self, words, label):
        """False while it waits for a start that hangs."""
        if self.held is None:
            return True
        self.held.append((words, label))
        return False

    def on_go(self, words, acts, reports, replies):
        if self.held is None or ["not", "waiting"] in acts:
            self.held = None
            return
        self.mark("J11 in order", len(replies) > 1)
        self.mark("E1 after what is queued", words[2] == "fail" and replies)
        for (asked, label), reply in zip(self.held, replies):
            restarting = words[2] == "fail" and asked[2] == words[1]
            self.answered(asked, label, reply)
            self.mark("E5 asked while restarting", reply == "restarting" or restarting and reply == "already_present")
            self.mark("E6 terminated while restarting", restarting and asked[0] == "terminate" and reply == "ok")
        self.held = None

    def answered(self, words, label, reply):
        statement = f"{label} {reply}"
        if statement in STATEMENTS:
            self.mark(statement)

    def on_add(self, words, acts, reports, replies):
        if not self.ask(words, "J1") or not replies:
            return
        self.answered(words, "J1", replies[0])
        name, sup = self.named(words[1]), self.sups.get(self.named(words[1]))
        if replies[0] not in ("ok", "ignored"):
            return
        self.mark("J2 at the end", sup.children)
        if words[2] not in sup.children:
            sup.children.append(words[2])
        sup.added = True
        self.above[words[2]] = name
        self.rules[words[2]] = self.rules_in["+", words[2]] if ("+", words[2]) in self.rules_in else self.rules[words[2]]

    def on_terminate(self, words, acts, reports, replies):
        if not self.ask(words, "J3") or not replies:
            return
        sup = self.sups[self.named(words[1])]
        self.mark("K3 by id", replies[0] == "simple_one_for_one")
        self.mark("J3 not_found", replies[0] == "not_found")
        if replies[0] != "ok" or words[2] not in self.rules:
            return
        ran = self.runs(words[2])
        self.mark("J3 ok" if ran else "J3 not running")
        self.mark("J4 siblings stay", ran and sup.strategy in ("all", "rest") and self.others(words[2]))
        self.mark("I3 terminated", ran and self.rules[words[2]][1] and sup.auto in ("any", "all"))

    def on_restart(self, words, acts, reports, replies):
        if not self.ask(words, "J5") or not replies:
            return
        self.answered(words, "J5", replies[0])
        self.mark("K3 by id", replies[0] == "simple_one_for_one")
        if replies[0] == "ok":
            name = self.named(words[1])
            self.by_hand[name] += 1
            self.mark("F5 restarts by hand are free", self.by_hand[name] > self.sups[name].intensity)

    def on_delete(self, words, acts, reports, replies):
        if not self.ask(words, "J6") or not replies:
            return
        self.answered(words, "J6", replies[0])
        self.mark("K3 by id", replies[0] == "simple_one_for_one")
        sup = self.sups[self.named(words[1])]
        if replies[0] == "ok" and words[2] in sup.children:
            sup.children.remove(words[2])

    def on_dyn(self, words, acts, reports, replies):
        self.labels[words[2]] = self.named(words[1])
        if replies:
            self.answered(words, "K2", replies[0])

    def on_terminate_dyn(self, words, acts, reports, replies):
        self.mark("K3 by instance", "ok" in replies)

    def on_which(self, words, acts, reports, replies):
        if replies or self.named(words[1]) not in self.sups:
            return
        simple = self.sups[self.named(words[1])].strategy == "simple"
        rows = len(acts[0]) - 1
        self.mark("K1 rows without ids", simple)
        self.mark("J7 which_children", not simple and rows > 1)

    def on_count(self, words, acts, reports, replies):
        if replies or self.named(words[1]) not in self.sups:
            return
        simple = self.sups[self.named(words[1])].strategy == "simple"
        self.mark("K6 counts" if simple else "J8 count_children")

    def on_change(self, words, acts, reports, replies):
        if replies != ["ok"]:
            return
        name, sup, group = self.named(words[1]), self.sups[self.named(words[1])], self.sups[words[2]]
        self.mark("L1 other flags")
        if group.strategy == "simple":
            self.mark("L4 template")
            template = group.children[0]
            self.rules[template] = self.rules_in[words[2], template]
        else:
            kept = [child for child in sup.children if child not in group.children]
            self.mark("L2 the same id", any(child in sup.children and self.runs(child) for child in group.children))
            self.mark("L3 new ids", any(child not in sup.children for child in group.children))
            self.mark("L3 ids no longer named", any(self.runs(child) for child in kept))
            for child in group.children:
                self.rules[child] = self.rules_in[words[2], child]
                self.above[child] = name
            sup.children = group.children + kept
        sup.strategy, sup.intensity, sup.auto, sup.changed = group.strategy, group.intensity, group.auto, True


class Count:
    """Seeds by statement."""

    def __init__(self):
        self.seeds = Counter()

    def add(self, lines, said):
        reached = Reached()
        for line, trace in zip(lines, said):
            reached.see(line, trace)
        self.seeds.update(reached.found)

    def table(self):
        cells = [f"{self.seeds[statement]:6} {statement:36}" for statement in STATEMENTS]
        return ["".join(cells[i:i + 3]).rstrip() for i in range(0, len(cells), 3)]

    def below(self, enough):
        return [(statement, self.seeds[statement]) for statement in STATEMENTS if self.seeds[statement] < enough]
