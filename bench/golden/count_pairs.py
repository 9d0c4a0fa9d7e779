#!/usr/bin/env python3
"""Counts the instructions of a malloc and free pair, with valgrind's callgrind.

Each case runs twice, with two numbers of turns; the difference of the two totals over the difference of the turns is what a
warm pair costs, loop and PLT included; start and end of the process drop out. Needs valgrind; no clock, so noise is nil.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

CASES = [("pairs", 16), ("pairs", 64), ("pairs", 1024), ("pairs", 32768), ("batch", 64), ("remote", 64)]
TURNS = (20000, 60000)
TOLERANCE = 0.5
SKIPPED = 77


def instructions(program, library, mode, size, turns):
    """All instructions of one run."""
    environment = dict(os.environ, LD_PRELOAD=library) if library else dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "callgrind.out")
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, program, mode, str(size), str(turns)],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError("%s %d under callgrind failed:\n%s" % (mode, size, done.stderr[-2000:]))
        with open(out, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                found = re.match(r"(?:totals|summary): (\d+)", line)
                if found:
                    return int(found.group(1))
    raise RuntimeError("callgrind wrote no total")


def count(program, library, mode, size):
    few, many = (instructions(program, library, mode, size, turns) for turns in TURNS)
    return (many - few) / (TURNS[1] - TURNS[0])


def read_golden(path):
    """[(mode, size, count, limit)] of the rows; counts may be None where nobody filled them in."""
    rows = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            words = line.split("#")[0].split()
            if words:
                mode, size, counted, limit = words
                rows.append((mode, int(size), None if counted == "-" else float(counted), float(limit)))
    return rows


def write_golden(path, measured):
    with open(path, encoding="utf-8") as lines:
        text = lines.read().splitlines()
    for number, line in enumerate(text):
        words = line.split("#")[0].split()
        if words:
            text[number] = "%-8s %6s %7.1f %6s" % (words[0], words[1], measured[(words[0], int(words[1]))], words[3])
    with open(path, "w", encoding="utf-8") as out:
        out.write("\n".join(text) + "\n")


def check(program, library, golden, write):
    rows = read_golden(golden)
    measured = {(mode, size): count(program, library, mode, size) for mode, size, _, _ in rows}
    bad = 0
    for mode, size, expected, limit in rows:
        now = measured[(mode, size)]
        said = "ok"
        if now > limit + TOLERANCE:
            said = "over the limit of %g" % limit
        elif expected is None:
            said = "ok, not recorded yet: run with --write"
        elif abs(now - expected) > TOLERANCE and not write:
            said = "was %.1f; if that is meant, run with --write and say so in the commit message" % expected
        bad += not said.startswith("ok")
        print("%-8s %6d %7.1f  %s" % (mode, size, now, said))
    if write:
        write_golden(golden, measured)
        print("wrote", golden)
    return 1 if bad else 0


def table(program, libraries):
    names = [name for name, _ in libraries]
    print("%-8s %6s " % ("", "bytes") + " ".join("%12s" % name for name in names))
    for mode, size in CASES:
        cells = []
        for _, path in libraries:
            try:
                cells.append("%12.1f" % count(program, path, mode, size))
            except RuntimeError as error:
                print(error, file=sys.stderr)
                cells.append("%12s" % "failed")
        print("%-8s %6d " % (mode, size) + " ".join(cells), flush=True)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="*", metavar="[NAME=]LIBRARY",
                        help="a table for these preloaded libraries; `glibc=` for none")
    parser.add_argument("--program", required=True, help="the ouro-pairs program")
    parser.add_argument("--check", metavar="FILE", help="compare the one library with a golden file instead")
    parser.add_argument("--write", action="store_true", help="with --check: record what was counted")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("count_pairs: skipped, valgrind is not installed")
        return SKIPPED
    libraries = []
    for library in options.libraries:
        name, equals, path = library.partition("=")
        libraries.append((name, path) if equals else (os.path.basename(library).split(".")[0].removeprefix("lib"), library))
    if options.check:
        if len(libraries) != 1:
            parser.error("--check takes one library")
        return check(options.program, libraries[0][1], options.check, options.write)
    return table(options.program, libraries or [("glibc", "")])


if __name__ == "__main__":
    sys.exit(main())
