/* os/memory.c: virtual memory, futexes and clocks of Linux, behind ouroi_os.
 *
 * Owns        the struct ouroi_os that ships.
 * Invariants  errno is what it was, whatever happened.
 */
#include "os/os.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define MPOL_PREFERRED_ 1
#define MPOL_INTERLEAVE_ 3

static void *os_map(void *at, size_t bytes, unsigned flags, int *error)
{
    int saved = errno;
    int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if ((flags & OUROI_MAP_EXACT) != 0)
        how |= MAP_FIXED_NOREPLACE;
    int access = (flags & OUROI_MAP_READ) != 0 ? PROT_READ : PROT_READ | PROT_WRITE;
    void *got = mmap(at, bytes, access, how, -1, 0);
    if (got != MAP_FAILED && (flags & OUROI_MAP_EXACT) != 0 && got != at) {
        munmap(got, bytes); /* a kernel before 4.17 takes the address for a wish, as ThreadSanitizer does */
        got = MAP_FAILED;
        errno = EEXIST;
    }
    /* EINVAL, EPERM: no place for user memory. EAGAIN: too much is locked. */
    *error = got != MAP_FAILED ? 0 : errno == ENOMEM || errno == EAGAIN ? -ENOMEM : -EEXIST;
    errno = saved;
    return got == MAP_FAILED ? NULL : got;
}

static int result(int rc, int saved)
{
    int error = rc < 0 ? -errno : 0;
    errno = saved;
    return error;
}

static int os_unmap(void *at, size_t bytes)
{
    int saved = errno;
    return result(munmap(at, bytes), saved);
}

static int os_purge(void *at, size_t bytes)
{
    int saved = errno;
    return result(madvise(at, bytes, MADV_DONTNEED), saved);
}

static int os_resize(void *at, size_t old_bytes, size_t new_bytes)
{
    int saved = errno;
    void *got = mremap(at, old_bytes, new_bytes, 0);
    return result(got == MAP_FAILED ? -1 : 0, saved);
}

static int os_move(void *from, size_t bytes, void *to, size_t to_bytes)
{
    int saved = errno;
    void *got = mremap(from, bytes, to_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    return result(got == MAP_FAILED ? -1 : 0, saved);
}

static void os_populate(void *at, size_t bytes)
{
    int saved = errno;
    madvise(at, bytes, MADV_POPULATE_WRITE);
    errno = saved;
}

static int os_protect(void *at, size_t bytes, bool access)
{
    int saved = errno;
    return result(mprotect(at, bytes, access ? PROT_READ | PROT_WRITE : PROT_NONE), saved);
}

static int os_bind(void *at, size_t bytes, int node)
{
    int saved = errno;
    unsigned long mask = node < 0 ? (ouroi_machine.nodes >= 64 ? ~0ul : (1ul << ouroi_machine.nodes) - 1) : 1ul << node;
    long rc =
        syscall(SYS_mbind, at, bytes, node < 0 ? MPOL_INTERLEAVE_ : MPOL_PREFERRED_, &mask, 8 * sizeof mask + 1, 0);
    return result((int)rc, saved);
}

static int os_advise_huge(void *at, size_t bytes, bool on)
{
    int saved = errno;
    return result(madvise(at, bytes, on ? MADV_HUGEPAGE : MADV_NOHUGEPAGE), saved);
}

static uint64_t os_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void os_futex_wait(uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
    int saved = errno;
    struct timespec time = { (time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u) };
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_ns == 0 ? NULL : &time, NULL, 0);
    errno = saved;
}

static void os_futex_wake(uint32_t *word, unsigned count)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
    errno = saved;
}

static unsigned os_node(void)
{
    unsigned cpu = 0, node = 0;
    int saved = errno;
    if (getcpu(&cpu, &node) != 0)
        node = 0;
    errno = saved;
    return node;
}

struct ouroi_os ouroi_os = {
    .map = os_map,
    .unmap = os_unmap,
    .purge = os_purge,
    .resize = os_resize,
    .move = os_move,
    .populate = os_populate,
    .protect = os_protect,
    .bind = os_bind,
    .advise_huge = os_advise_huge,
    .now_ns = os_now_ns,
    .futex_wait = os_futex_wait,
    .futex_wake = os_futex_wake,
    .node = os_node,
};
