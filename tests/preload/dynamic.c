/* preload/dynamic.c: libraries that come and go: plugins that allocate, RTLD_DEEPBIND, and the allocator by dlopen. */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tables.h"

struct plugin {
    void *handle;
    void *(*take)(size_t);
    void (*give)(void *);
    void *(*grow)(void *, size_t);
    char *(*text)(const char *);
    size_t (*usable)(void *);
    bool (*thread)(void);
    void (*thread_done)(void);
};

static void look_up(void *handle, const char *name, void *function)
{
    void *symbol = dlsym(handle, name);
    EXPECT(symbol != NULL);
    memcpy(function, &symbol, sizeof symbol);
}

static void load_plugin(struct plugin *p, int flags)
{
    p->handle = dlopen(beside("plugin.so"), flags);
    if (p->handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        EXPECT(p->handle != NULL);
    }
    look_up(p->handle, "plugin_take", &p->take);
    look_up(p->handle, "plugin_free", &p->give);
    look_up(p->handle, "plugin_grow", &p->grow);
    look_up(p->handle, "plugin_text", &p->text);
    look_up(p->handle, "plugin_usable", &p->usable);
    look_up(p->handle, "plugin_thread", &p->thread);
    look_up(p->handle, "plugin_thread_done", &p->thread_done);
}

/* Inside the plugin alone. */
static void use_plugin(const struct plugin *p)
{
    for (size_t size = 1; size < 500 * KIB; size *= 3) {
        char *block = p->take(size), *other = p->take(size);
        EXPECT(block != NULL && other != NULL);
        fill(block, size, 1);
        fill(other, size, 2);
        EXPECT_CMP(p->usable(block), >=, size);
        block = p->grow(block, size * 2);
        EXPECT(block != NULL && verify(block, size, 1) && verify(other, size, 2));
        p->give(block);
        p->give(other);
    }
}

/* A block made on one side is grown and freed on the other. */
static void pass_blocks(const struct plugin *p)
{
    for (size_t size = 1; size < 3 * MIB; size *= 3) {
        void *theirs = p->take(size), *ours = malloc(size);
        EXPECT(theirs != NULL && ours != NULL);
        fill(theirs, size, 1);
        fill(ours, size, 2);
        theirs = realloc(theirs, size * 2);
        ours = p->grow(ours, size * 2);
        EXPECT(theirs != NULL && verify(theirs, size, 1));
        EXPECT(ours != NULL && verify(ours, size, 2));
        free(theirs);
        p->give(ours);
    }
    exercise(1);
}

static void check_plugin(void)
{
    struct plugin p;
    load_plugin(&p, RTLD_NOW | RTLD_LOCAL);
    use_plugin(&p);
    pass_blocks(&p);
    char *text = p.text("across");
    EXPECT(text != NULL && strcmp(text, "across") == 0);
    free(text);
    EXPECT(dlclose(p.handle) == 0);
    exercise(2);
}

static void check_plugin_lazy_and_global(void)
{
    struct plugin p;
    load_plugin(&p, RTLD_LAZY | RTLD_GLOBAL);
    use_plugin(&p);
    pass_blocks(&p);
    EXPECT(dlclose(p.handle) == 0);
}

static void check_plugin_closed_blocks_live_on(void)
{
    struct plugin p;
    void *blocks[300];
    load_plugin(&p, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = p.take(i * 333);
        EXPECT(blocks[i] != NULL);
        fill(blocks[i], i * 333, i);
    }
    EXPECT(dlclose(p.handle) == 0);
    exercise(1);
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        EXPECT(verify(blocks[i], i * 333, i));
        free(blocks[i]);
    }
}

static void check_plugin_loaded_200_times(void)
{
    size_t settled = 0;
    for (unsigned i = 0; i < 200; i++) {
        struct plugin p;
        load_plugin(&p, RTLD_NOW | RTLD_LOCAL);
        use_plugin(&p);
        EXPECT(dlclose(p.handle) == 0);
        if (i == 50)
            settled = rss_bytes();
    }
    EXPECT_CMP(rss_bytes(), <=, settled + 4 * MIB);
}

static void *use_plugin_of_thread(void *arg)
{
    struct plugin *p = arg;
    EXPECT(p->thread());
    EXPECT(p->thread());
    p->thread_done();
    return NULL;
}

/* The loader itself allocates a thread's copy of the plugin's thread-local storage, and frees it at the thread's end. */
static void check_plugin_thread_storage(void)
{
    struct plugin p;
    size_t settled = 0;
    load_plugin(&p, RTLD_NOW | RTLD_LOCAL);
    for (unsigned i = 0; i < 3000; i++) {
        thread_join(thread_start(use_plugin_of_thread, &p, 64 * KIB));
        if (i == 300)
            settled = rss_bytes();
    }
    EXPECT_CMP(rss_bytes(), <=, settled + 4 * MIB);
    EXPECT(dlclose(p.handle) == 0);
}

static void *load_use_close(void *arg)
{
    for (unsigned i = 0; i < 15; i++) {
        struct plugin p;
        load_plugin(&p, RTLD_NOW | RTLD_LOCAL);
        EXPECT(p.thread());
        p.thread_done();
        use_plugin(&p);
        EXPECT(dlclose(p.handle) == 0);
    }
    return arg;
}

static void check_plugin_loaded_by_threads(void)
{
    load_use_close(NULL);
    for (unsigned i = 0; i < 10; i++)
        thread_join(thread_start(load_use_close, NULL, 0));
}

/* The program is C: C++'s runtime, with bad_alloc and the new_handler, is there only since the plugin is. */
static void check_plugin_cxx_in_c_program(void)
{
    bool (*catches)(size_t), (*calls_handler)(size_t), (*contains_handler)(size_t);
    void *handle = dlopen(beside("plugin_cxx.so"), RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        check_skip(dlerror());
    look_up(handle, "plugin_cxx_catches", &catches);
    look_up(handle, "plugin_cxx_calls_handler", &calls_handler);
    look_up(handle, "plugin_cxx_contains_handler", &contains_handler);
    EXPECT(catches(opaque(PTRDIFF_MAX - 5000)));
    EXPECT(calls_handler(opaque(PTRDIFF_MAX - 5000)));
    EXPECT(contains_handler(opaque(PTRDIFF_MAX - 5000)));
    EXPECT(dlclose(handle) == 0);
    exercise(2);
}

static void check_plugin_left_open(void)
{
    struct plugin p;
    load_plugin(&p, RTLD_NOW | RTLD_LOCAL);
    EXPECT(p.thread());
    use_plugin(&p);
    /* its destructor frees at exit */
}

static void check_deepbind_inside(void)
{
    struct plugin p;
    load_plugin(&p, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    use_plugin(&p);
    EXPECT(p.thread());
    p.thread_done();
    EXPECT(dlclose(p.handle) == 0);
    exercise(1);
}

/* libc's strdup, freed by the plugin: with two heaps in the process, the wrong one. */
static void check_deepbind_frees_block_of_libc(void)
{
    struct plugin p;
    load_plugin(&p, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    for (unsigned i = 0; i < 1000; i++) {
        char *text = p.text("a text of some length, so that it is not the smallest block");
        EXPECT(text != NULL);
        p.give(text);
    }
    EXPECT(dlclose(p.handle) == 0);
    exercise(1);
}

static void check_deepbind_block_freed_by_program(void)
{
    struct plugin p;
    load_plugin(&p, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    for (size_t size = 1; size < 3 * MIB; size *= 2) {
        void *block = p.take(size);
        EXPECT(block != NULL);
        fill(block, size, 1);
        block = realloc(block, size * 2);
        EXPECT(block != NULL && verify(block, size, 1));
        EXPECT_CMP(malloc_usable_size(block), >=, size * 2);
        free(block);
        block = p.take(size);
        EXPECT_CMP(malloc_usable_size(block), >=, size);
        free(block);
    }
    EXPECT(dlclose(p.handle) == 0);
    exercise(1);
}

static void check_deepbind_frees_block_of_program(void)
{
    struct plugin p;
    load_plugin(&p, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    for (size_t size = 1; size < 3 * MIB; size *= 2) {
        void *block = malloc(size);
        EXPECT(block != NULL);
        fill(block, size, 1);
        block = p.grow(block, size * 2);
        EXPECT(block != NULL && verify(block, size, 1));
        p.give(block);
    }
    EXPECT(dlclose(p.handle) == 0);
    exercise(1);
}

/* The allocator itself, loaded by a program that runs on glibc's. */

struct other_heap {
    void *handle;
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
};

static struct other_heap other;

static void load_other(int flags)
{
    const char *path = getenv("BATTERY_LIBRARY");
    if (path == NULL)
        check_skip("no library is named to be loaded");
    other.handle = dlopen(path, flags);
    if (other.handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        EXPECT(other.handle != NULL);
    }
    look_up(other.handle, "malloc", &other.malloc);
    look_up(other.handle, "calloc", &other.calloc);
    look_up(other.handle, "realloc", &other.realloc);
    look_up(other.handle, "free", &other.free);
    Dl_info info;
    struct stat named, found;
    EXPECT(dladdr(dlsym(other.handle, "malloc"), &info) != 0);
    EXPECT(stat(path, &named) == 0 && stat(info.dli_fname, &found) == 0 && named.st_ino == found.st_ino);
}

static void *use_other(void *arg)
{
    uintptr_t seed = (uintptr_t)arg;
    void *blocks[200];
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            size_t size = (i * i * 7) % 60000;
            blocks[i] = i % 2 == 0 ? other.malloc(size) : other.calloc(1, size);
            EXPECT(blocks[i] != NULL);
            fill(blocks[i], size, seed + i);
        }
        void *ours = malloc(1000);
        EXPECT(ours != NULL);
        free(ours);
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            size_t size = (i * i * 7) % 60000;
            EXPECT(verify(blocks[i], size, seed + i));
            blocks[i] = other.realloc(blocks[i], size * 2 + 1);
            EXPECT(blocks[i] != NULL && verify(blocks[i], size, seed + i));
            other.free(blocks[i]);
        }
    }
    void *large = other.malloc(30 * MIB);
    EXPECT(large != NULL);
    touch(large, 30 * MIB);
    other.free(large);
    return NULL;
}

static void check_dlopen_library(void)
{
    load_other(RTLD_NOW | RTLD_LOCAL);
    use_other(NULL);
    exercise(1);
}

static void check_dlopen_library_lazy_global(void)
{
    load_other(RTLD_LAZY | RTLD_GLOBAL);
    use_other(NULL);
    exercise(1);
}

static void check_dlopen_library_deepbind(void)
{
    load_other(RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    use_other(NULL);
    exercise(1);
}

static void check_dlopen_library_threads(void)
{
    load_other(RTLD_NOW | RTLD_LOCAL);
    for (unsigned round = 0; round < 5; round++) {
        unsigned long threads[4];
        for (size_t i = 0; i < COUNT_OF(threads); i++)
            threads[i] = thread_start(use_other, (void *)i, 64 * KIB);
        for (size_t i = 0; i < COUNT_OF(threads); i++)
            thread_join(threads[i]);
    }
}

static void *wait_then_use_other(void *arg)
{
    sleep_ms(50);
    return use_other(arg);
}

/* The thread is older than the library, its storage there comes late. */
static void check_dlopen_library_older_thread(void)
{
    unsigned long thread = thread_start(wait_then_use_other, NULL, 64 * KIB);
    load_other(RTLD_NOW | RTLD_LOCAL);
    thread_join(thread);
}

static void *use_other_and_stay(void *arg)
{
    use_other(NULL);
    *(volatile int *)arg = 1;
    sleep_ms(200);
    return NULL;
}

/* Threads that used it end after it was closed: nothing of it may be called that is gone. */
static void check_dlopen_library_closed_before_thread_ends(void)
{
    volatile int used = 0;
    load_other(RTLD_NOW | RTLD_LOCAL);
    unsigned long thread = thread_start(use_other_and_stay, (void *)&used, 0);
    while (used == 0)
        sleep_ms(1);
    use_other(NULL);
    EXPECT(dlclose(other.handle) == 0);
    thread_join(thread);
    exercise(1);
    pid_t pid = fork();
    if (pid == 0) {
        exercise(2);
        exit(0);
    }
    expect_child_ok(pid);
}

static void check_dlopen_library_fork(void)
{
    load_other(RTLD_NOW | RTLD_LOCAL);
    use_other(NULL);
    for (uintptr_t i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            use_other((void *)i);
            exit(0);
        }
        expect_child_ok(pid);
    }
}

static void check_dlopen_library_smallest_stack(void)
{
    load_other(RTLD_NOW | RTLD_LOCAL);
    for (uintptr_t i = 0; i < 10; i++)
        thread_join(thread_start(use_other, (void *)i, 16384));
}

/* A second copy, with a libc of its own, beside the first. */
static void check_dlmopen_library(void)
{
    const char *path = getenv("BATTERY_LIBRARY");
    if (path == NULL)
        check_skip("no library is named to be loaded");
    other.handle = dlmopen(LM_ID_NEWLM, path, RTLD_NOW | RTLD_LOCAL);
    if (other.handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        EXPECT(other.handle != NULL);
    }
    look_up(other.handle, "malloc", &other.malloc);
    look_up(other.handle, "calloc", &other.calloc);
    look_up(other.handle, "realloc", &other.realloc);
    look_up(other.handle, "free", &other.free);
    use_other(NULL);
    exercise(1);
    use_other(NULL);
}

const struct check checks_dynamic[] = {
    { "plugin", check_plugin, NULL, "" },
    { "plugin_lazy_and_global", check_plugin_lazy_and_global, NULL, "" },
    { "plugin_closed_blocks_live_on", check_plugin_closed_blocks_live_on, NULL, "" },
    { "plugin_loaded_200_times", check_plugin_loaded_200_times, NULL, "" },
    { "plugin_thread_storage", check_plugin_thread_storage, NULL, "" },
    { "plugin_loaded_by_threads", check_plugin_loaded_by_threads, NULL, "" },
    { "plugin_left_open", check_plugin_left_open, NULL, "" },
    { "plugin_cxx_in_c_program", check_plugin_cxx_in_c_program, NULL, "" },
    { "deepbind_inside", check_deepbind_inside, NULL, "" },
    { "deepbind_frees_block_of_libc", check_deepbind_frees_block_of_libc, NULL, "" },
    { "deepbind_block_freed_by_program", check_deepbind_block_freed_by_program, NULL, "" },
    { "deepbind_frees_block_of_program", check_deepbind_frees_block_of_program, NULL, "" },
    { "dlopen_library", check_dlopen_library, NULL, "nopreload" },
    { "dlopen_library_lazy_global", check_dlopen_library_lazy_global, NULL, "nopreload" },
    { "dlopen_library_deepbind", check_dlopen_library_deepbind, NULL, "nopreload" },
    { "dlopen_library_threads", check_dlopen_library_threads, NULL, "nopreload" },
    { "dlopen_library_older_thread", check_dlopen_library_older_thread, NULL, "nopreload" },
    { "dlopen_library_closed_before_thread_ends", check_dlopen_library_closed_before_thread_ends, NULL, "nopreload" },
    { "dlopen_library_fork", check_dlopen_library_fork, NULL, "nopreload" },
    { "dlopen_library_smallest_stack", check_dlopen_library_smallest_stack, NULL, "nopreload" },
    { "dlmopen_second_copy", check_dlmopen_library, NULL, "nopreload" },
    { NULL, NULL, NULL, NULL },
};
