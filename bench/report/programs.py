"""The real-programs group: programs that a Debian has, each with a generated load of its own.

A program says whether it is there, prepares its input once, and runs under an allocator; a run gives the same sample as a
workload's. Input comes from a fixed seed.
"""
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import allocators
import runner

HERE = os.path.dirname(os.path.abspath(__file__))


class Program:
    """One command line, started by ouro-launch."""

    name = ""
    stands_for = ""
    needs = ()

    def __init__(self, launch, folder, scale):
        self.launch = launch
        self.folder = os.path.join(folder, self.name)
        self.scale = scale

    def missing(self):
        return [tool for tool in self.needs if not shutil.which(tool)]

    def prepare(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)

    def amount(self, full):
        return max(1, round(full * self.scale))

    def command(self):
        raise NotImplementedError

    def extra_environment(self):
        return {}

    def run(self, library):
        return runner.run_launched(self.launch, self.command(), library, self.extra_environment(), self.folder)


class Python(Program):
    name = "python"
    stands_for = "python3 with PYTHONMALLOC=malloc: records, JSON, text"

    def missing(self):
        return []

    def command(self):
        # The real program: a shim of a version manager is a shell script that would be measured as well.
        python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else os.path.realpath(sys.executable)
        return [python, "-S", "-E", os.path.join(HERE, "programs", "load.py"), str(self.amount(24))]

    def extra_environment(self):
        return {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "1"}

    def run(self, library):
        command = [word for word in self.command() if word != "-E"]    # -E would hide PYTHONMALLOC
        return runner.run_launched(self.launch, command, library, self.extra_environment(), self.folder)


class Perl(Program):
    name = "perl"
    stands_for = "perl: hashes of lists, strings, sorting"
    needs = ("perl",)

    def command(self):
        return ["perl", os.path.join(HERE, "programs", "load.pl"), str(self.amount(16))]


class Gcc(Program):
    name = "gcc"
    stands_for = "gcc -O1 compiling one large generated file"
    needs = ("gcc",)

    def prepare(self):
        super().prepare()
        draw = random.Random(1)
        with open(os.path.join(self.folder, "load.c"), "w", encoding="utf-8") as out:
            out.write("struct s { int a, b; struct s *next; char name[16]; };\nint g(struct s *, int);\n")
            for number in range(self.amount(120)):
                out.write("static const char text_%d[] = \"%s\";\n" % (number, "message %d " % number * 4))
                out.write("int f_%d(struct s *p, int n)\n{\n    int x = n, y = %d;\n" % (number, draw.randrange(99)))
                for _ in range(12):
                    out.write(draw.choice((
                        "    for (int i = 0; i < n; i++) x += p->a * i + {0};\n",
                        "    if (x > {0}) y = g(p->next, x - {1}); else y ^= p->b;\n",
                        "    switch (x & 7) {{ case 0: y += {0}; break; case 3: x -= y; break; case 5: p = p->next; break; default: x++; }}\n",
                        "    while (p && p->a < {0}) {{ p = p->next; y += {1}; }}\n    if (!p) return x;\n",
                    )).format(draw.randrange(1000), draw.randrange(50)))
                out.write("    return x + y + text_%d[n & 15];\n}\n" % number)

    def command(self):
        return ["gcc", "-O1", "-w", "-c", "load.c", "-o", "load.o"]


class Sqlite(Program):
    name = "sqlite3"
    stands_for = "sqlite3 on an in-memory database: inserts, joins, groups, text"
    needs = ("sqlite3",)

    def prepare(self):
        super().prepare()
        rows = self.amount(150000)
        with open(os.path.join(self.folder, "load.sql"), "w", encoding="utf-8") as out:
            out.write("""
CREATE TABLE item(id INTEGER PRIMARY KEY, owner INTEGER, name TEXT, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
    INSERT INTO item SELECT i, (i * 7919) % 1000, 'item ' || (i * 31 % 5000), printf('%.*c', i * 13 % 90, 'x') FROM n;
CREATE INDEX item_name ON item(name);
CREATE INDEX item_owner ON item(owner);
SELECT count(*) FROM (SELECT name, count(*), max(length(note)) FROM item GROUP BY name ORDER BY 2 DESC);
SELECT count(*) FROM item a JOIN item b ON a.owner = b.owner AND b.id < 200 WHERE a.note LIKE '%xx';
UPDATE item SET note = note || name WHERE id % 3 = 0;
SELECT length(group_concat(note || owner)) FROM item WHERE id % 5 = 0;
DELETE FROM item WHERE id % 2 = 0;
VACUUM;
""".replace("{rows}", str(rows)))

    def command(self):
        return ["sqlite3", "-batch", ":memory:", ".read load.sql"]


class Git(Program):
    """A repository with a generated history, made once by fast-import."""

    needs = ("git",)

    def prepare(self):
        super().prepare()
        draw = random.Random(1)
        files = {"dir%d/file%d.txt" % (n % 9, n): ["line %d of file %d" % (i, n) for i in range(60)] for n in range(40)}
        stream = []
        for commit in range(self.amount(4000)):
            stream.append("commit refs/heads/main\ncommitter A <a@example.org> %d +0000\ndata 9\nchange it\n"
                          % (1500000000 + commit * 60))
            for path in sorted(files) if commit == 0 else draw.sample(sorted(files), 4):
                lines = files[path]
                lines[draw.randrange(len(lines))] = "line of commit %d: %d" % (commit, draw.randrange(10 ** 9))
                if draw.random() < 0.3:
                    lines.insert(draw.randrange(len(lines)), "new in %d" % commit)
                text = "\n".join(lines) + "\n"
                stream.append("M 100644 inline %s\ndata %d\n%s\n" % (path, len(text), text))
        self._git("init", "-q", "--bare", "--initial-branch=main", ".")
        self._git("fast-import", "--quiet", text="".join(stream))
        self._git("repack", "-adfq")

    def _git(self, *words, text=None):
        subprocess.run(["git"] + list(words), cwd=self.folder, env=runner.environment("", self.extra_environment()),
                       input=text, text=True, check=True, stdout=subprocess.DEVNULL)

    def extra_environment(self):
        return {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_DIR": self.folder, "GIT_PAGER": "cat"}


class GitLog(Git):
    name = "git log"
    stands_for = "git log -p --stat over a generated history"

    def command(self):
        return ["git", "log", "-p", "--stat"]


class GitRepack(Git):
    name = "git repack"
    stands_for = "git repack -adf of the same, on all processors"

    def command(self):
        return ["git", "repack", "-adfq"]


class Redis(Program):
    """The server runs under the allocator; the client, which sets the pace of the load, never does."""

    name = "redis"
    stands_for = "redis-server driven by redis-benchmark"
    needs = ("redis-server", "redis-benchmark", "redis-cli")

    def command(self):
        return []

    def _client(self, *words):
        return subprocess.run(["redis-cli", "-s", "redis.sock"] + list(words), cwd=self.folder, env=runner.environment(""),
                              capture_output=True, text=True, check=False, timeout=30)

    def _wait(self, server):
        for _ in range(500):
            if server.poll() is not None:
                raise runner.Failure("redis: the server ended with status %d before it answered" % server.returncode)
            if self._client("ping").stdout.strip() == "PONG":
                return
            time.sleep(0.01)
        raise runner.Failure("redis: the server does not answer")

    def run(self, library):
        # Debian's server is linked with jemalloc: to run it on glibc's malloc, libc is put before it.
        server = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no", "--loglevel",
             "warning"], cwd=self.folder, env=runner.environment(library or allocators.libc_path()),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            self._wait(server)
            started = time.monotonic()
            for count, words in ((90000, ["-t", "set,get", "-d", "300"]), (60000, ["-t", "lpush,lpop,sadd,hset", "-d", "64"])):
                done = subprocess.run(["redis-benchmark", "-s", "redis.sock", "-q", "-P", "16", "-c", "20", "-r", "100000", "-n",
                                       str(self.amount(count))] + words, cwd=self.folder, env=runner.environment(""),
                                      capture_output=True, text=True, check=False, timeout=runner.TIMEOUT_S)
                if done.returncode != 0 or server.poll() is not None:
                    raise runner.Failure("redis: the load ended with status %d" % done.returncode)
            seconds = time.monotonic() - started
            with open("/proc/%d/status" % server.pid, encoding="utf-8") as status:
                peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
            with open("/proc/%d/stat" % server.pid, encoding="utf-8") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            ticks = os.sysconf("SC_CLK_TCK")
            return {"seconds": seconds, "cpu_seconds": (int(fields[11]) + int(fields[12])) / ticks, "peak_rss_kib": peak,
                    "minor_faults": int(fields[7])}
        finally:
            self._client("shutdown", "nosave")
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


ALL = [Python, Perl, Gcc, Sqlite, GitLog, GitRepack, Redis]
