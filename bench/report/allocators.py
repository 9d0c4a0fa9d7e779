"""The allocators that are compared: where each library is, and which version.

ouro is the build under test; peers are found through the dynamic linker's cache; anything else is NAME=PATH.
"""
import os
import re
import shutil
import subprocess

BASELINE = "jemalloc"
AGAIN = "jemalloc again"
PEERS = {
    "jemalloc": (r"libjemalloc\.so\.\d+",),
    "mimalloc": (r"libmimalloc\.so\.\d+",),
    "tcmalloc": (r"libtcmalloc_minimal\.so\.\d+", r"libtcmalloc\.so\.\d+"),
}
ORDER = ["ouro", "jemalloc", "mimalloc", "tcmalloc", "glibc"]


class Allocator:
    def __init__(self, name, path, version=""):
        self.name = name
        self.path = path
        self.version = version


def _ldconfig():
    program = shutil.which("ldconfig") or shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if not program:
        return []
    text = subprocess.run([program, "-p"], capture_output=True, text=True, check=False).stdout
    return re.findall(r"^\s+(\S+) \(.*\) => (\S+)$", text, re.MULTILINE)


def can_be_preloaded(path):
    """False for another architecture's library, which the linker's cache lists as well."""
    done = subprocess.run(["true"], env=dict(os.environ, LD_PRELOAD=path), capture_output=True, text=True, check=False)
    return done.returncode == 0 and "preload" not in done.stderr


def find_library(patterns):
    for pattern in patterns:
        for soname, path in _ldconfig():
            if re.fullmatch(pattern, soname) and can_be_preloaded(path):
                return path
    return None


def libc_path():
    return find_library((r"libc\.so\.6",))


def _package_version(path):
    if not shutil.which("dpkg-query"):
        return os.path.basename(os.path.realpath(path))
    owner = subprocess.run(["dpkg-query", "-S", "*/" + os.path.basename(os.path.realpath(path))],
                           capture_output=True, text=True, check=False).stdout.split(": ")[0]
    if not owner:
        return os.path.basename(os.path.realpath(path))
    return subprocess.run(["dpkg-query", "-W", "-f", "${Version}", owner.split(",")[0]],
                          capture_output=True, text=True, check=False).stdout


def _own_version(root):
    done = subprocess.run(["git", "-C", root, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def find(names, root, own_library):
    """Allocators by name, in the order of the tables, and one line for each that is not there."""
    found, missing = [], []
    for name in names:
        if "=" in name:
            label, _, path = name.partition("=")
            if os.path.exists(path) and can_be_preloaded(path):
                found.append(Allocator(label, os.path.abspath(path), os.path.basename(path)))
            else:
                missing.append("%s: %s cannot be preloaded" % (label, path))
        elif name == "ouro":
            if os.path.exists(own_library):
                found.append(Allocator("ouro", own_library, _own_version(root)))
            else:
                missing.append("ouro: there is no %s" % os.path.relpath(own_library, root))
        elif name == "glibc":
            version = os.confstr("CS_GNU_LIBC_VERSION") or ""
            found.append(Allocator("glibc", "", version.replace("glibc ", "")))
        elif name in PEERS:
            path = find_library(PEERS[name])
            if path:
                found.append(Allocator(name, path, _package_version(path)))
            else:
                missing.append("%s: not installed (scripts/setup bench)" % name)
        else:
            missing.append("%s: not known; give NAME=PATH" % name)
    return found, missing
