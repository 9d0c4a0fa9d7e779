/* preload/misuse.c: what an allocator makes of 25 kinds of misuse.
 *
 *   misuse [--preload LIBRARY] [--secure] [--rounds N] [--only SUBSTRING] [--least N] [--no-corruption] [--strict]
 *
 * Each kind runs in a child that then goes on as programs do: it allocates and frees, in two threads, with the content
 * and the disjointness of all living blocks checked. The library may speak up at any time until the child's end. A kind
 * runs --rounds times (3); its worst outcome counts:
 *   reported    ended by SIGABRT with a line on stderr
 *   crashed     ended by another signal, or with no line
 *   harmless    nothing happened, and nothing is wrong
 *   corrupt     two living blocks overlap, or a block's content changed, or the allocator hangs
 *
 * First a child with no misuse runs: what is reported there is a false alarm, and the exit status is 1.
 *
 * --secure         OURO_SECURE=1 for the children
 * --least N        exit status 1 if fewer than N kinds are reported
 * --no-corruption  exit status 1 if a kind is corrupt
 * --strict         counts as reported only what is told in exactly one line that names the pointer
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { EXIT_CORRUPT = 3, EXIT_UNABLE = 77, CHILD_SECONDS = 20 };

/* The pointer that the report should name; the parent reads it from a shared page. */
static void *volatile *blamed;

/* What the child watches: blocks that live through the misuse. */
enum { NEIGHBOURS = 64 };
struct witness {
    unsigned char *ptr;
    size_t size;
};
static struct witness witnesses[NEIGHBOURS * 2];
static size_t witness_count;
static bool corrupt;

static void add_witness(void *ptr, size_t size)
{
    if (ptr == NULL)
        _exit(EXIT_UNABLE);
    fill(ptr, size, (uintptr_t)ptr);
    witnesses[witness_count++] = (struct witness){ ptr, size };
}

/* A block of `size` in the middle of living ones of the same size. */
static void *surrounded(size_t size)
{
    for (size_t i = 0; i < NEIGHBOURS / 2; i++)
        add_witness(malloc(size), size);
    void *p = malloc(size);
    if (p == NULL)
        _exit(EXIT_UNABLE);
    memset(p, 0, size);
    for (size_t i = 0; i < NEIGHBOURS / 2; i++)
        add_witness(malloc(size), size);
    return p;
}

static void *blame(void *ptr)
{
    *blamed = keep(ptr);
    return keep(ptr);
}

struct range {
    uintptr_t begin, end;
};

static int by_begin(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

enum { CHURN = 4000 };

/* Takes many blocks of some sizes; none may overlap another or a witness, all must be writable and keep content. */
static void churn(size_t size)
{
    static struct range ranges[CHURN + NEIGHBOURS * 2];
    static unsigned char *blocks[CHURN];
    size_t count = size > 100000 ? 40 : CHURN, n = 0;
    for (size_t i = 0; i < count; i++) {
        size_t want = i % 4 == 3 ? 16 + i % 512 : size;
        blocks[i] = malloc(want);
        if (blocks[i] == NULL)
            continue;
        ranges[n++] = (struct range){ (uintptr_t)blocks[i], (uintptr_t)blocks[i] + want };
    }
    for (size_t i = 0; i < witness_count; i++) {
        ranges[n++] = (struct range){ (uintptr_t)witnesses[i].ptr, (uintptr_t)witnesses[i].ptr + witnesses[i].size };
    }
    qsort(ranges, n, sizeof *ranges, by_begin);
    for (size_t i = 1; i < n; i++)
        corrupt |= ranges[i - 1].end > ranges[i].begin;
    if (!corrupt) {
        for (size_t i = 0; i < count; i++) {
            if (blocks[i] != NULL)
                fill(blocks[i], i % 4 == 3 ? 16 + i % 512 : size, i);
        }
        for (size_t i = 0; i < count; i++) {
            corrupt |= blocks[i] != NULL && !verify(blocks[i], i % 4 == 3 ? 16 + i % 512 : size, i);
        }
    }
    if (corrupt)
        return; /* freeing one block twice would be misuse of our own */
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
}

static void *churn_in_thread(void *arg)
{
    churn((size_t)(uintptr_t)arg);
    return NULL;
}

static size_t churn_size;

/* After the misuse: the program goes on. Ends the child. */
static void go_on(void)
{
    for (unsigned round = 0; round < 3 && !corrupt; round++)
        churn(churn_size);
    if (!corrupt)
        thread_join(thread_start(churn_in_thread, (void *)(uintptr_t)churn_size, 0));
    for (size_t i = 0; i < witness_count; i++) {
        corrupt |= !verify(witnesses[i].ptr, witnesses[i].size, (uintptr_t)witnesses[i].ptr);
    }
    if (!corrupt || witness_count > 0) {
        /* the last chance to speak up: the blocks beside the misused one are freed, memory is trimmed */
        for (size_t i = 0; i < witness_count; i++)
            free(witnesses[i].ptr);
        witness_count = 0;
        malloc_trim(0);
        if (!corrupt)
            churn(churn_size);
    }
    _exit(corrupt ? EXIT_CORRUPT : 0);
}

/* The kinds */

static void double_free_at_once(void)
{
    churn_size = 48;
    char *p = surrounded(48);
    free(blame(p));
    free(keep(p));
}

static void double_free_later(void)
{
    churn_size = 48;
    char *others[200], *p = surrounded(48);
    for (size_t i = 0; i < 200; i++)
        others[i] = malloc(48);
    free(blame(p));
    for (size_t i = 0; i < 200; i += 2)
        free(others[i]);
    for (size_t i = 0; i < 30; i++)
        add_witness(malloc(1000), 1000);
    free(keep(p));
}

struct hand {
    void *ptr;
};

static void *free_in_thread(void *arg)
{
    free(((struct hand *)arg)->ptr);
    return NULL;
}

static void double_free_other_thread(void)
{
    churn_size = 48;
    struct hand hand = { blame(surrounded(48)) };
    free(keep(hand.ptr));
    thread_join(thread_start(free_in_thread, &hand, 0));
}

static void double_free_large(void)
{
    churn_size = 200 * KIB;
    char *p = surrounded(200 * KIB);
    free(blame(p));
    free(keep(p));
}

static void double_free_huge(void)
{
    churn_size = 5 * MIB;
    add_witness(malloc(1000), 1000);
    char *p = malloc(64 * MIB);
    touch(p, 64 * MIB);
    free(blame(p));
    free(keep(p));
}

static void free_stack(void)
{
    churn_size = 64;
    _Alignas(64) char local[256];
    memset(local, 0, sizeof local);
    free(blame(local + 64));
}

static _Alignas(64) char global[4096] = { 1 };

static void free_global(void)
{
    churn_size = 64;
    free(blame(global + 64));
}

static void free_code(void)
{
    churn_size = 64;
    void (*code)(void) = free_code;
    void *p;
    memcpy(&p, &code, sizeof p);
    free(blame((void *)((uintptr_t)p & ~(uintptr_t)15)));
}

static void free_mmaped(void)
{
    churn_size = 64;
    char *p = mmap(NULL, 1 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        _exit(EXIT_UNABLE);
    memset(p, 0, 1 * MIB);
    free(blame(p + 64 * KIB));
}

static void free_misaligned(void)
{
    churn_size = 100;
    char *p = surrounded(100);
    free(blame(p + 3));
}

static void free_inner_small(void)
{
    churn_size = 200;
    char *p = surrounded(200);
    free(blame(p + 64));
}

static void free_inner_large(void)
{
    churn_size = 1 * MIB;
    char *p = malloc(1 * MIB);
    memset(p, 0, 1 * MIB);
    add_witness(malloc(100), 100);
    free(blame(p + 64 * KIB));
}

static void free_small_integer(void)
{
    churn_size = 64;
    free(blame((void *)(uintptr_t)0x1230));
}

static void free_noncanonical(void)
{
    churn_size = 64;
    free(blame((void *)(uintptr_t)0xdeadbeefcafe0040));
}

static void realloc_freed(void)
{
    churn_size = 100;
    char *p = surrounded(100);
    free(blame(p));
    void *q = realloc(keep(p), opaque(1000));
    if (q != NULL)
        add_witness(q, 1000);
}

static void realloc_foreign(void)
{
    churn_size = 64;
    void *q = realloc(blame(global + 64), opaque(1000));
    if (q != NULL)
        add_witness(q, 1000);
}

static void usable_size_foreign(void)
{
    churn_size = 64;
    volatile size_t size = malloc_usable_size(blame(global + 64));
    (void)size;
}

/* Writes `count` bytes past the last that may be used. */
static void overrun(size_t size, size_t count)
{
    churn_size = size;
    unsigned char *p = surrounded(size);
    size_t usable = malloc_usable_size(p);
    blame(p);
    for (size_t i = 0; i < count; i++)
        ((unsigned char *)keep(p))[usable + i] ^= 0x55;
    churn(size);
    free(keep(p));
}

static void overrun_by_1(void)
{
    overrun(24, 1);
}
static void overrun_by_8(void)
{
    overrun(24, 8);
}
static void overrun_by_64(void)
{
    overrun(104, 64);
}
static void overrun_large(void)
{
    overrun(300 * KIB, 64);
}

static void underrun(void)
{
    churn_size = 56;
    unsigned char *p = surrounded(56);
    blame(p);
    for (size_t i = 1; i <= 16; i++)
        ((unsigned char *)keep(p - i))[0] ^= 0x55;
    churn(56);
    free(keep(p));
}

/* Writes into a freed block what would lead a list astray: the address of a living block, everywhere. */
static void use_after_free(size_t size)
{
    churn_size = size;
    char *p = surrounded(size), *others[8];
    for (size_t i = 0; i < 8; i++)
        others[i] = malloc(size);
    for (size_t i = 0; i < 4; i++)
        free(others[i]);
    free(blame(p));
    for (size_t i = 4; i < 8; i++)
        free(others[i]);
    void *target = witnesses[3].ptr;
    char *freed = keep(p);
    for (size_t at = 0; at + sizeof target <= size; at += sizeof target)
        memcpy(freed + at, &target, sizeof target);
}

static void write_after_free_small(void)
{
    use_after_free(64);
}
static void write_after_free_large(void)
{
    use_after_free(300 * KIB);
}

extern void free_sized(void *ptr, size_t size) __attribute__((weak));

static void free_wrong_size(void)
{
    void (*sized)(void *, size_t) = free_sized;
    churn_size = 64;
    if (sized == NULL) { /* sized delete, where there is no C23 */
        void *symbol = dlsym(RTLD_DEFAULT, "_ZdlPvm");
        if (symbol == NULL)
            symbol = dlsym(dlopen("libstdc++.so.6", RTLD_NOW), "_ZdlPvm");
        if (symbol == NULL)
            _exit(EXIT_UNABLE);
        memcpy(&sized, &symbol, sizeof symbol);
    }
    char *p = surrounded(64);
    sized(blame(p), opaque(5000));
}

/* No misuse: all that the others do but the wrong. What is reported here is a false alarm. */
static void no_misuse(void)
{
    static const size_t sizes[] = { 24, 48, 64, 100, 104, 200, 200 * KIB, 300 * KIB };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        churn_size = sizes[i];
        witness_count = 0;
        char *p = surrounded(sizes[i]), *q = memalign(4096, sizes[i]);
        memset(p, 0x55, malloc_usable_size(p));
        memset(q, 0x55, malloc_usable_size(q));
        churn(sizes[i]);
        struct hand hand = { realloc(blame(p), sizes[i] * 2) };
        thread_join(thread_start(free_in_thread, &hand, 0));
        free(q);
        for (size_t k = 0; k < witness_count; k++)
            corrupt |= !verify(witnesses[k].ptr, witnesses[k].size, (uintptr_t)witnesses[k].ptr);
    }
}

struct kind {
    const char *name;
    void (*run)(void);
    bool names_block; /* the report can name the pointer that was passed */
};

static const struct kind kinds[] = {
    { "double free, at once", double_free_at_once, true },
    { "double free, later", double_free_later, true },
    { "double free, other thread", double_free_other_thread, true },
    { "double free, large", double_free_large, true },
    { "double free, huge", double_free_huge, true },
    { "free of stack", free_stack, true },
    { "free of a global", free_global, true },
    { "free of code", free_code, true },
    { "free of mmap'ed memory", free_mmaped, true },
    { "free, misaligned", free_misaligned, true },
    { "free of inner pointer, small", free_inner_small, true },
    { "free of inner pointer, large", free_inner_large, true },
    { "free of a small integer", free_small_integer, true },
    { "free of a non-canonical pointer", free_noncanonical, true },
    { "realloc of freed", realloc_freed, true },
    { "realloc of foreign", realloc_foreign, true },
    { "usable_size of foreign", usable_size_foreign, true },
    { "overrun by 1", overrun_by_1, false },
    { "overrun by 8", overrun_by_8, false },
    { "overrun by 64", overrun_by_64, false },
    { "overrun of a large block", overrun_large, false },
    { "underrun by 16", underrun, false },
    { "write after free, small", write_after_free_small, false },
    { "write after free, large", write_after_free_large, false },
    { "free with a wrong size", free_wrong_size, true },
};

static const struct kind control = { "no misuse", no_misuse, false };

/* The parent */

enum outcome { UNABLE, REPORTED, CRASHED, HARMLESS, CORRUPT, OUTCOMES };
static const char *const outcome_names[] = { "unable", "reported", "crashed", "harmless", "CORRUPT" };

struct finding {
    enum outcome outcome;
    bool precise; /* one line, and it names the pointer */
    char line[200];
};

static const char *preload;
static bool secure;

static void run_child(const struct kind *kind, int output)
{
    setpgid(0, 0);
    dup2(output, 2);
    if (preload != NULL)
        setenv("LD_PRELOAD", preload, 1);
    if (secure)
        setenv("OURO_SECURE", "1", 1);
    char page[32];
    if (kind == &control)
        snprintf(page, sizeof page, "control");
    else
        snprintf(page, sizeof page, "%zu", (size_t)(kind - kinds));
    execl("/proc/self/exe", "misuse", "--child", page, (char *)NULL);
    _exit(EXIT_UNABLE);
}

static int wait_with_limit(pid_t pid, bool *hung)
{
    int status;
    *hung = false;
    for (unsigned ticks = 0; waitpid(pid, &status, WNOHANG) != pid; ticks++) {
        sleep_ms(5);
        if (ticks == CHILD_SECONDS * 200) {
            kill(-pid, SIGKILL);
            *hung = true;
            waitpid(pid, &status, 0);
            return status;
        }
    }
    kill(-pid, SIGKILL);
    return status;
}

static bool names_pointer(const char *line, const struct kind *kind, const void *ptr)
{
    char hex[32];
    if (!kind->names_block)
        return strstr(line, "0x") != NULL;
    snprintf(hex, sizeof hex, "%llx", (unsigned long long)(uintptr_t)ptr);
    return strcasestr(line, hex) != NULL;
}

static struct finding find_out(const struct kind *kind, int shared)
{
    struct finding finding = { UNABLE, false, "" };
    FILE *output = tmpfile();
    if (output == NULL)
        exit(2);
    *blamed = NULL;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(shared, 199);
        run_child(kind, fileno(output));
    }
    bool hung;
    int status = wait_with_limit(pid, &hung);
    char line[400];
    unsigned lines = 0;
    rewind(output);
    while (fgets(line, sizeof line, output) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        lines++;
        snprintf(finding.line, sizeof finding.line, "%.190s", line);
    }
    fclose(output);
    if (hung)
        finding.outcome = CORRUPT;
    else if (WIFSIGNALED(status))
        finding.outcome = WTERMSIG(status) == SIGABRT && lines > 0 ? REPORTED : CRASHED;
    else if (WEXITSTATUS(status) == 0)
        finding.outcome = HARMLESS;
    else if (WEXITSTATUS(status) == EXIT_UNABLE)
        finding.outcome = UNABLE;
    else
        finding.outcome = CORRUPT;
    finding.precise = finding.outcome == REPORTED && lines == 1 && names_pointer(finding.line, kind, *blamed);
    if (hung)
        snprintf(finding.line, sizeof finding.line, "hang");
    else if (finding.outcome == CRASHED && lines == 0) {
        snprintf(finding.line, sizeof finding.line, "(signal %d)", WTERMSIG(status));
    }
    return finding;
}

/* The page that parent and child share; the child has it as descriptor 199. */
static void share_page(int fd)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        exit(2);
    blamed = page;
}

static int run_as_child(const char *index)
{
    share_page(199);
    close(199);
    if (strcmp(index, "control") == 0)
        control.run();
    else
        kinds[strtoul(index, NULL, 10)].run();
    go_on();
    return 0;
}

static const char *next_value(int argc, char **argv, int *at)
{
    if (*at + 1 >= argc) {
        fprintf(stderr, "misuse: a value is missing after %s\n", argv[*at]);
        exit(2);
    }
    return argv[++*at];
}

int main(int argc, char **argv)
{
    unsigned long rounds = 3, least = 0;
    bool no_corruption = false, strict = false;
    const char *only = "";
    if (argc == 3 && strcmp(argv[1], "--child") == 0)
        return run_as_child(argv[2]);
    for (int at = 1; at < argc; at++) {
        if (strcmp(argv[at], "--preload") == 0) {
            preload = realpath(next_value(argc, argv, &at), NULL);
            if (preload == NULL)
                return fprintf(stderr, "misuse: no such library: %s\n", argv[at]), 2;
        } else if (strcmp(argv[at], "--rounds") == 0)
            rounds = strtoul(next_value(argc, argv, &at), NULL, 10);
        else if (strcmp(argv[at], "--least") == 0)
            least = strtoul(next_value(argc, argv, &at), NULL, 10);
        else if (strcmp(argv[at], "--only") == 0)
            only = next_value(argc, argv, &at);
        else if (strcmp(argv[at], "--secure") == 0)
            secure = true;
        else if (strcmp(argv[at], "--no-corruption") == 0)
            no_corruption = true;
        else if (strcmp(argv[at], "--strict") == 0)
            strict = true;
        else
            return fprintf(stderr, "misuse: unknown option %s\n", argv[at]), 2;
    }
    int shared = memfd_create("misuse", 0);
    if (shared < 0 || ftruncate(shared, 4096) != 0)
        return 2;
    share_page(shared);
    size_t totals[OUTCOMES] = { 0 }, precise = 0;
    for (unsigned long round = 0; round < rounds; round++) {
        struct finding f = find_out(&control, shared);
        if (f.outcome == HARMLESS)
            continue;
        printf("%-32s %-9s  %s\nA false alarm: what follows would mean nothing.\n", control.name,
               outcome_names[f.outcome], f.line);
        return 1;
    }
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        if (strstr(kinds[i].name, only) == NULL)
            continue;
        struct finding worst = { UNABLE, false, "" };
        for (unsigned long round = 0; round < rounds; round++) {
            struct finding f = find_out(&kinds[i], shared);
            if (f.outcome > worst.outcome || (f.outcome == worst.outcome && !f.precise))
                worst = f;
        }
        totals[worst.outcome]++;
        precise += worst.precise;
        printf("%-32s %-9s%s %s\n", kinds[i].name, outcome_names[worst.outcome],
               worst.outcome == REPORTED && !worst.precise ? "~" : " ", worst.line);
    }
    printf(
        "%zu reported (%zu in one line that names the pointer), %zu crashed, %zu harmless, %zu corrupt, %zu unable\n",
        totals[REPORTED], precise, totals[CRASHED], totals[HARMLESS], totals[CORRUPT], totals[UNABLE]);
    bool enough = (strict ? precise : totals[REPORTED]) >= least;
    return enough && !(no_corruption && totals[CORRUPT] > 0) ? 0 : 1;
}
