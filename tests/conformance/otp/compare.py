"""Scripts through the policy and through OTP's supervisor, and what both said, side by side."""
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

from cases import Case

HERE = os.path.dirname(os.path.abspath(__file__))
BATCH = 250  # seeds of one process


def normal(line):
    """What both sides can say alike: no kills and no records; dynamic children, which stop side by side, in one order;
    answers last."""
    words = [word.replace("refused ", "reply ") for word in line[2:].split(", ")
             if word and not word.startswith(("kill ", "report "))]
    words.sort(key=lambda word: word.startswith("reply "))
    out = []
    run = []
    for word in words + [""]:
        if word.startswith(("stop d", "signal d")):
            run.append(word)
            continue
        out += sorted(run)
        run = []
        out.append(word)
    return [word for word in out if word]


def answers(command, scripts):
    """What a driver says to scripts {seed: lines}: {seed: lines}."""
    text = "".join(f"case {seed}\n" + "\n".join(lines) + "\n" for seed, lines in scripts.items())
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: exit status {done.returncode}: {done.stderr or done.stdout[-500:]}")
    cases = {}
    for line in done.stdout.splitlines():
        if line.startswith("case "):
            said = cases[int(line[5:])] = []
        else:
            said.append(line)
    return cases


def otp(scripts):
    return answers(["escript", os.path.join(HERE, "supervisor_driver")], scripts)


def batches(first, seeds, work):
    """work(scripts) for all seeds, some at a time and side by side; its results in order."""
    starts = range(first, first + seeds, BATCH)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lambda at: work({seed: Case(seed).script()
                                             for seed in range(at, min(at + BATCH, first + seeds))}), starts)


def differ(our, their):
    """The first statement answered differently, or None."""
    if len(our) != len(their):
        return min(len(our), len(their))
    return next((at for at, (a, b) in enumerate(zip(our, their)) if normal(a) != normal(b)), None)
