"""What the fault tests and the benchmarks share: programs that are started and surely stopped, a Gatehouse node of a
build, what /proc knows about its processes, and a list of named checks."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TICK = os.sysconf('SC_CLK_TCK')

# The kernel keeps 15 characters of a process's name.
ROLE_NAMES = [('gatehouse-super', 'root'), ('gatehouse-admin', 'admin'), ('gatehouse-regis', 'registry'),
              ('gatehouse-sessi', 'sessions'), ('gatehouse-launc', 'launcher'), ('gatehouse-keepe', 'keeper'),
              ('gatehouse-upstr', 'upstream'), ('gatehouse-zygot', 'zygote'), ('gatehouse-worke', 'worker'),
              ('gatehouse-gatew', 'gateway')]


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def http_status(url, timeout=1.0):
    """The status of a GET, or None when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError):
        return None


def wait_until(probe, seconds, pause=0.02):
    """The first true value of probe(), or None when there was none in time."""
    end = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            return None
        time.sleep(pause)


def find_program(build, *names):
    for name in names:
        path = os.path.join(build, name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return os.path.abspath(path)
    raise SystemExit(f'not in {build}: {" or ".join(names)} (build it first)')


class Program:
    """A child in a process group of its own; its output goes to a file."""

    def __init__(self, argv, directory, name, **options):
        self.argv, self.log = argv, os.path.join(directory, f'{name}.log')
        with open(self.log, 'ab') as log:
            self.child = subprocess.Popen(argv, stdin=options.pop('stdin', subprocess.DEVNULL), stdout=log,
                                          stderr=subprocess.STDOUT, start_new_session=True, **options)
        self.pid, self.stopped = self.child.pid, False

    def alive(self):
        return self.child.poll() is None

    def said(self, size=3000):
        with open(self.log, 'rb') as log:
            return log.read()[-size:].decode('utf-8', 'replace')

    def stop(self, seconds=10.0):
        if self.stopped:
            return
        self.stopped = True
        if self.alive():
            self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()


class Work:
    """A temporary directory and the programs that live in it; leaving the block stops and removes all."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='gatehouse-test-')
        self.mark = f'mark-{uuid.uuid4().hex}'
        self.programs = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in reversed(self.programs):
            program.stop()
        for pid in pids_with(self.dir) + pids_with(self.mark):
            kill(pid, signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), 'w', encoding='utf-8') as file:
            file.write(text)
        return self.path(name)

    def start(self, argv, name, **options):
        program = Program(argv, self.dir, name, **options)
        self.programs.append(program)
        return program


class Node:
    """A node of a build: build/gatehouse serve -c FILE --listen URL. settings: further top-level lines of YAML."""

    def __init__(self, work, build, servers, naming='none', settings=()):
        self.work, self.program_path = work, find_program(build, 'gatehouse', 'ctl/gatehouse')
        self.port = free_port()
        self.base = f'http://127.0.0.1:{self.port}'
        self.url = f'{self.base}/mcp'
        self.socket = work.path('admin.sock')
        self.admin = f'127.0.0.1:{free_port()}'
        lines = [f'admin: {{ socket: {json.dumps(self.socket)}, http: "{self.admin}" }}',
                 f'state: {json.dumps(work.path("state"))}', f'naming: {naming}', *settings, 'mcpServers:']
        lines += [f'  {name}: {json.dumps(spec)}' for name, spec in servers.items()]
        self.config = work.write('gatehouse.yaml', '\n'.join(lines) + '\n')
        self.program = None

    def start(self, seconds=20.0, options=()):
        self.program = self.work.start(
            [self.program_path, 'serve', '-c', self.config, '--listen', self.base, *options], 'node')
        ready = wait_until(lambda: not self.program.alive() or http_status(f'{self.base}/readyz') == 200, seconds)
        if not ready or not self.program.alive():
            raise RuntimeError(f'the node did not become ready:\n{self.program.said()}')
        return self

    def stop(self):
        self.program.stop()

    def pids(self):
        """The root and everything below it."""
        return tree(self.program.pid)

    def root(self):
        """The root's pid: the program itself, or its descendant when the command does not become it by exec."""
        for pid in self.pids():
            if comm(pid).startswith('gatehouse-super'):
                return pid
        return self.program.pid

    def command(self, *words):
        return subprocess.run([self.program_path, words[0], '--socket', self.socket, *words[1:]],
                              capture_output=True, text=True, timeout=20, check=False)

    def roles(self):
        """{role: [pid, …]} as `gatehouse ps --json` says, else by the names the processes have."""
        done = self.command('ps', '--json')
        found = {}
        if done.returncode == 0:
            try:
                rows = json.loads(done.stdout)
            except ValueError:
                rows = []
            if isinstance(rows, dict):
                rows = next((v for v in rows.values() if isinstance(v, list)), [])
            for row in rows:
                if isinstance(row, dict) and row.get('role') and row.get('pid'):
                    found.setdefault(row['role'], []).append(int(row['pid']))
        return found or self.roles_by_name()

    def roles_by_name(self):
        found = {}
        for pid in self.pids():
            for prefix, role in ROLE_NAMES:
                if comm(pid).startswith(prefix):
                    found.setdefault(role, []).append(pid)
        return found


# /proc

def kill(pid, number):
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


def read_proc(pid, name):
    try:
        with open(f'/proc/{pid}/{name}', 'rb') as file:
            return file.read()
    except OSError:
        return b''


def stat_fields(pid):
    """The fields of /proc/PID/stat behind the name: [0] is the state, [1] the parent."""
    return read_proc(pid, 'stat').rpartition(b')')[2].split()


def comm(pid):
    return read_proc(pid, 'comm').decode().strip()


def alive(pid):
    fields = stat_fields(pid)
    return bool(fields) and fields[0] != b'Z'


def identity(pid):
    """Tells a process from a later one with the same number."""
    fields = stat_fields(pid)
    return (pid, int(fields[19])) if len(fields) > 19 else None


def all_pids():
    return [int(name) for name in os.listdir('/proc') if name.isdigit()]


def tree(top):
    """top and all its descendants that live now."""
    children = {}
    for pid in all_pids():
        fields = stat_fields(pid)
        if len(fields) > 1:
            children.setdefault(int(fields[1]), []).append(pid)
    found, waiting = [], [top]
    while waiting:
        pid = waiting.pop()
        if pid in found:
            continue
        found.append(pid)
        waiting += children.get(pid, [])
    return [pid for pid in found if alive(pid)]


def pids_with(word):
    """Processes whose command line contains a word, this one left out."""
    return [pid for pid in all_pids()
            if pid != os.getpid() and word.encode() in read_proc(pid, 'cmdline') and alive(pid)]


def cpu_seconds(pid):
    """User and system time of a process, all its threads, and its reaped children."""
    fields = stat_fields(pid)
    return sum(int(f) for f in fields[11:15]) / TICK if len(fields) > 15 else 0.0


def cpu_seconds_of(pids):
    return sum(cpu_seconds(pid) for pid in pids)


def pss_kb(pid):
    for line in read_proc(pid, 'smaps_rollup').decode().splitlines():
        if line.startswith('Pss:'):
            return int(line.split()[1])
    return 0


def memory_kb(field):
    with open('/proc/meminfo', encoding='ascii') as file:
        for line in file:
            if line.startswith(field + ':'):
                return int(line.split()[1])
    raise KeyError(field)


class Checks:
    """Named verdicts; finish() prints the counts and gives the exit status."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, ok, detail=''):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
        print(f'{name}: {"ok" if ok else "FAIL"}{" " if detail else ""}{detail}', flush=True)
        return ok

    def finish(self):
        print(f'{self.passed} passed, {self.failed} failed')
        return 0 if self.failed == 0 and self.passed > 0 else 1


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def say(*words):
    print(*words, file=sys.stderr, flush=True)
