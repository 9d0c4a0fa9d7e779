/* stress/process.c: fork while other threads count, allocate and collect; memory that runs out.
 *
 * Oracle: a child of a fork can do everything, and ends with status 0. Where a request for memory fails, what failed says so,
 * nothing that was there is lost, and all can be freed. */
#define _GNU_SOURCE
#include "graph.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ouro/alloc.h>
#include <ouro/stats.h>

extern char **environ;

enum { TREE = 7 };

struct twig {
    ouro_object base;
    struct twig *left, *right, *up;
};
static ouro_type twig_type = OURO_TYPE(struct twig, OURO_REFS(struct twig, left, right, up));

/* Of nodes that refer to their parents; NULL, and nothing is left, if there is no memory. */
static struct twig *twig_new(unsigned depth)
{
    struct twig *twig = ouro_new(&twig_type);
    if (twig == NULL) {
        CHECK(errno == ENOMEM);
        return NULL;
    }
    if (depth == 0)
        return twig;
    twig->left = twig_new(depth - 1);
    twig->right = twig_new(depth - 1);
    if (twig->left == NULL || twig->right == NULL) {
        ouro_decref(twig);
        return NULL;
    }
    if (depth == TREE) { /* a cycle */
        twig->left->up = ouro_newref(twig);
    }
    return twig;
}

/* fork. */

static _Atomic uint64_t forks;

static void child(void)
{
    alarm(100);
    ouro_gc_set_workers(1); /* sanitizers know no threads after a fork among threads */
    void *block = ouro_malloc(1000);
    struct twig *twig = twig_new(TREE);
    if (block == NULL || twig == NULL)
        _exit(10);
    ouro_decref(twig);
    ouro_free(block);
    if (ouro_gc_collect(2) < 0)
        _exit(11);
    if (ouro_debug_check() != 0)
        _exit(12);
    ouro_thread_unregister();
    if (ouro_thread_register() != 0)
        _exit(13);
    _exit(0);
}

static void fork_now(void)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        child();
    CHECK(pid > 0);
    OURO_BLOCKING {
        while (waitpid(pid, &status, 0) < 0)
            CHECK(errno == EINTR);
    }
    if (status != 0)
        fprintf(stderr, "\nstatus of the child: %x\n", (unsigned)status);
    CHECK(status == 0);
    atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
}

static void fork_sometimes(struct hand *hand, unsigned index)
{
    uint32_t what = random_below(&hand->random, 300);
    if (what == 0 || (index == 0 && what < 10))
        fork_now();
    else if (what < 20)
        CHECK(ouro_gc_collect((int)random_below(&hand->random, 3)) >= 0);
    if (what % 20 == 0)
        hand_thin(hand, 2);
}

void fork_run(void)
{
    graph_run(fork_sometimes, 500);
    CHECK(atomic_load(&forks) > 0);
}

/* memory: processes whose n-th request to the system fails, once or from then on; where the build has no such injection, whose
 * address space is small. What such a process does is below. */

static _Atomic uint64_t failures, successes;

static void use_blocks(struct random *random)
{
    char *blocks[64] = { NULL };
    size_t sizes[64] = { 0 };
    for (unsigned i = 0; i < 400; i++) {
        uint32_t at = random_below(random, 64);
        ouro_safepoint();
        size_t size = random_below(random, 50) == 0 ? random_below(random, 8 << 20) : random_below(random, 3000);
        for (size_t k = 0; k < sizes[at]; k += 500)
            CHECK(blocks[at][k] == (char)at);
        char *block = random_below(random, 2) == 0 ? ouro_realloc(blocks[at], size) : NULL;
        if (block == NULL && random_below(random, 2) == 0) {
            ouro_free(blocks[at]);
            blocks[at] = NULL;
            sizes[at] = 0;
            block = ouro_malloc(size);
        }
        atomic_fetch_add(block != NULL ? &successes : &failures, 1);
        if (block == NULL)
            continue; /* what was there is there still */
        blocks[at] = block;
        sizes[at] = size;
        memset(block, (int)at, size);
    }
    for (unsigned at = 0; at < 64; at++)
        ouro_free(blocks[at]);
}

static void use_objects(struct random *random)
{
    ouro_weakmap *map = ouro_weakmap_new();
    struct twig *kept[8] = { NULL };
    for (unsigned i = 0; i < 100; i++) {
        struct twig *twig = twig_new(random_below(random, 2) == 0 ? TREE : 2);
        atomic_fetch_add(twig != NULL ? &successes : &failures, 1);
        if (twig == NULL)
            continue;
        ouro_weakref *ref = ouro_weakref_new(twig, NULL, NULL);
        CHECK(ref != NULL || errno == ENOMEM);
        if (map != NULL && ouro_weakmap_set(map, twig, twig) != 0)
            CHECK(errno == ENOMEM);
        if (ref != NULL) {
            struct twig *again = ouro_weakref_get(ref);
            CHECK(again == twig);
            ouro_decref(again);
            ouro_decref(ref);
        }
        struct twig **place = &kept[random_below(random, 8)];
        ouro_xdecref(*place);
        *place = twig;
        if (random_below(random, 20) == 0)
            CHECK(ouro_gc_collect((int)random_below(random, 3)) >= 0 || errno == ENOMEM);
    }
    for (unsigned i = 0; i < 8; i++)
        ouro_xdecref(kept[i]);
    ouro_xdecref(map);
}

static void *memory_life(void *arg)
{
    struct random random = random_seed((uint64_t)(uintptr_t)arg);
    for (unsigned i = 0; i < 3; i++) {
        use_blocks(&random);
        use_objects(&random);
    }
    return NULL;
}

/* In the process that runs out. */
int memory_child(void)
{
    enum { LIVES = 3 };
    pthread_t lives[LIVES];
    bool there[LIVES];
    alarm(300);
    for (uintptr_t i = 0; i < LIVES; i++)
        there[i] = pthread_create(&lives[i], NULL, memory_life, (void *)(i + 1)) == 0;
    memory_life((void *)(uintptr_t)LIVES);
    ouro_blocking_begin();
    for (unsigned i = 0; i < LIVES; i++)
        if (there[i])
            pthread_join(lives[i], NULL);
    ouro_blocking_end();
    ouro_gc_collect(2);
    return ouro_debug_check() == 0 ? 0 : 1;
}

static void run_out(struct random *random)
{
    char seed[32], nth[32], threads[] = "1";
    char name[] = "memory-child", option[] = "--seed", threads_option[] = "--threads";
    snprintf(seed, sizeof seed, "%u", random_below(random, 1000000));
    snprintf(nth, sizeof nth, "%u%s", 1 + random_below(random, random_below(random, 2) == 0 ? 30 : 300),
             random_below(random, 2) == 0 ? "+" : "");
    char program[] = "/proc/self/exe";
    char *args[] = { program, name, option, seed, threads_option, threads, NULL };
    rlim_t limit = ((rlim_t)96 << 20) + random_below(random, 256 << 20);
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        if (WITH_INJECTION)
            setenv("OURO_FAIL_NTH", nth, 1);
        else
            setrlimit(RLIMIT_AS, &(struct rlimit){ limit, limit });
        execve(program, args, environ);
        _exit(99);
    }
    CHECK(pid > 0);
    OURO_BLOCKING {
        while (waitpid(pid, &status, 0) < 0)
            CHECK(errno == EINTR);
    }
    if (status != 0)
        fprintf(stderr, "\nstatus of the child: %x; seed %s, %s %s, address space %llu\n", (unsigned)status, seed,
                WITH_INJECTION ? "OURO_FAIL_NTH" : "without OURO_FAIL_NTH", nth, (unsigned long long)limit);
    CHECK(status == 0);
}

static void run_out_again(unsigned index)
{
    struct random random = random_seed(index);
    do {
        run_out(&random);
        atomic_fetch_add_explicit(&run.operations, 1, memory_order_relaxed);
    } while (!atomic_load_explicit(&run.stop, memory_order_relaxed));
}

void memory_run(void)
{
    run_threads(run.threads < 4 ? run.threads : 4, run_out_again);
}
