/* preload/check.c: helpers of the checks. None of them allocates. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        ssize_t n = write(STDERR_FILENO, text, left);
        if (n <= 0)
            return;
        text += n;
        left -= (size_t)n;
    }
}

void check_fail(const char *file, int line, const char *what)
{
    int err = errno;
    char text[512];
    const char *base = strrchr(file, '/');
    snprintf(text, sizeof text, "%s:%d: not so: %s (errno %d)\n", base != NULL ? base + 1 : file, line, what, err);
    say(text);
    _exit(1);
}

void check_fail_numbers(const char *file, int line, const char *what, unsigned long long left, unsigned long long right)
{
    char text[512];
    const char *base = strrchr(file, '/');
    snprintf(text, sizeof text, "%s:%d: not so: %s (%llu, %llu)\n", base != NULL ? base + 1 : file, line, what, left,
             right);
    say(text);
    _exit(1);
}

void check_skip(const char *why)
{
    say(why);
    say("\n");
    _exit(CHECK_SKIPPED);
}

static size_t read_file(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    size_t used = 0;
    while (used < size - 1) {
        ssize_t n = read(fd, buffer + used, size - 1 - used);
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    close(fd);
    buffer[used] = '\0';
    return used;
}

static size_t number_after(const char *text, const char *key)
{
    size_t length = strlen(key);
    for (const char *at = text; (at = strstr(at, key)) != NULL; at += length) {
        if ((at == text || at[-1] == '\n') && at[length] == ':')
            return strtoul(at + length + 1, NULL, 10);
    }
    return 0;
}

size_t status_number(const char *key)
{
    char text[4096];
    read_file("/proc/self/status", text, sizeof text);
    return number_after(text, key);
}

/* The roll-up is exact; status reads counters that may lag. */
size_t rss_bytes(void)
{
    char text[4096];
    read_file("/proc/self/smaps_rollup", text, sizeof text);
    size_t kib = number_after(text, "Rss");
    return (kib != 0 ? kib : status_number("VmRSS")) * KIB;
}

size_t peak_bytes(void)
{
    return status_number("VmHWM") * KIB;
}

size_t vm_bytes(void)
{
    return status_number("VmSize") * KIB;
}

void peak_reset(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "5", 1) != 1)
        check_skip("the peak of the resident size cannot be reset here");
    close(fd);
}

size_t fault_count(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (size_t)usage.ru_minflt;
}

uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void sleep_ms(unsigned ms)
{
    struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };
    while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
        continue;
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= UINT64_C(0x7fb5d329728ea185);
    x ^= x >> 27;
    x *= UINT64_C(0x81dadef4bc2dd44d);
    return x ^ (x >> 33);
}

void fill(void *ptr, size_t size, uint64_t seed)
{
    unsigned char *bytes = ptr;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word = mix(seed + i);
        memcpy(bytes + i, &word, 8);
    }
    uint64_t word = mix(seed + i);
    memcpy(bytes + i, &word, size - i);
}

bool verify(const void *ptr, size_t size, uint64_t seed)
{
    const unsigned char *bytes = ptr;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word = mix(seed + i);
        if (memcmp(bytes + i, &word, 8) != 0)
            return false;
    }
    uint64_t word = mix(seed + i);
    return memcmp(bytes + i, &word, size - i) == 0;
}

bool is_zero(const void *ptr, size_t size)
{
    const unsigned char *bytes = ptr;
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

void touch(void *ptr, size_t size)
{
    volatile unsigned char *bytes = ptr;
    for (size_t i = 0; i < size; i += 4096)
        bytes[i] = (unsigned char)(i >> 12 | 1);
    if (size > 0)
        bytes[size - 1] = 1;
}

bool is_aligned(const void *ptr, size_t alignment)
{
    return ((uintptr_t)ptr & (alignment - 1)) == 0;
}

uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    return mix(*state);
}

size_t random_size(uint64_t *state, size_t max)
{
    uint64_t r = next_random(state);
    unsigned bits = (unsigned)(r % 100);
    unsigned shift = bits < 70 ? 8 : bits < 90 ? 12 : bits < 98 ? 16 : 20;
    size_t size = (size_t)(r >> 20) & (((size_t)1 << shift) - 1);
    return size < max ? size : size % max;
}

void limit_to(int resource, size_t bytes)
{
    struct rlimit limit;
    EXPECT(getrlimit((__rlimit_resource_t)resource, &limit) == 0);
    limit.rlim_cur = bytes;
    EXPECT(setrlimit((__rlimit_resource_t)resource, &limit) == 0);
}

void limit_lift(int resource)
{
    struct rlimit limit;
    EXPECT(getrlimit((__rlimit_resource_t)resource, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    EXPECT(setrlimit((__rlimit_resource_t)resource, &limit) == 0);
}

size_t wait_for_rss(size_t bytes, unsigned ms)
{
    uint64_t end = now_ns() + (uint64_t)ms * 1000000u;
    size_t rss = rss_bytes();
    while (rss > bytes && now_ns() < end) {
        sleep_ms(100);
        rss = rss_bytes();
    }
    return rss;
}

const char *beside(const char *file)
{
    static char path[PATH_MAX + 64];
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
    EXPECT(n > 0);
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    EXPECT(slash != NULL && strlen(file) < 60);
    memcpy(slash + 1, file, strlen(file) + 1);
    return path;
}

unsigned long thread_start(thread_fn fn, void *arg, size_t stack_bytes)
{
    pthread_attr_t attr;
    pthread_t thread;
    EXPECT(pthread_attr_init(&attr) == 0);
    if (stack_bytes != 0)
        EXPECT(pthread_attr_setstacksize(&attr, stack_bytes) == 0);
    int err = pthread_create(&thread, &attr, fn, arg);
    EXPECT_CMP(err, ==, 0);
    pthread_attr_destroy(&attr);
    return thread;
}

void thread_join(unsigned long thread)
{
    EXPECT(pthread_join(thread, NULL) == 0);
}

void expect_child_ok(int pid)
{
    int status;
    EXPECT(pid > 0);
    pid_t got;
    do
        got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    EXPECT(got == pid);
    EXPECT(!WIFSIGNALED(status));
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void exercise(uint64_t seed)
{
    static const size_t sizes[] = { 0, 1, 24, 100, 1000, 5000, 40000, 200 * KIB };
    void *blocks[COUNT_OF(sizes)][4];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t size = opaque(sizes[i]);
        blocks[i][0] = malloc(size);
        blocks[i][1] = calloc(1, size);
        blocks[i][2] = memalign(256, size);
        blocks[i][3] = malloc(size / 2 + 1);
        for (size_t k = 0; k < 4; k++)
            EXPECT(blocks[i][k] != NULL);
        EXPECT(is_aligned(blocks[i][2], 256));
        EXPECT(is_zero(blocks[i][1], size));
        fill(blocks[i][0], size, seed + i);
        fill(blocks[i][1], size, seed + 100 + i);
        fill(blocks[i][2], size, seed + 200 + i);
        fill(blocks[i][3], size / 2, seed + 300 + i);
        blocks[i][3] = realloc(blocks[i][3], size * 2 + 1);
        EXPECT(blocks[i][3] != NULL);
    }
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        EXPECT(verify(blocks[i][0], sizes[i], seed + i));
        EXPECT(verify(blocks[i][1], sizes[i], seed + 100 + i));
        EXPECT(verify(blocks[i][2], sizes[i], seed + 200 + i));
        EXPECT(verify(blocks[i][3], sizes[i] / 2, seed + 300 + i));
        for (size_t k = 0; k < 4; k++)
            free(blocks[i][k]);
    }
    char *huge = malloc(opaque(5 * MIB));
    EXPECT(huge != NULL);
    huge[0] = huge[5 * MIB - 1] = 1;
    free(huge);
}

void exercise_small(uint64_t seed)
{
    void *blocks[60];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        size_t size = opaque(i * i * 2);
        blocks[i] = i % 3 == 0 ? calloc(1, size) : malloc(size);
        EXPECT(blocks[i] != NULL && (i % 3 != 0 || is_zero(blocks[i], size)));
        fill(blocks[i], size, seed + i);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        EXPECT(verify(blocks[i], i * i * 2, seed + i));
        free(blocks[i]);
    }
}
