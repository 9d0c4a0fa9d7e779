/* preload/process.c: fork and its handlers, exec, exit and what runs after main, signals, the shape of the process. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tables.h"

#ifndef SYS_clone3
#define SYS_clone3 435
#endif

static _Atomic bool stop;

static void *allocate_until_stop(void *arg)
{
    uint64_t state = (uint64_t)(uintptr_t)arg;
    void *blocks[300] = { NULL };
    while (!atomic_load(&stop)) {
        size_t i = next_random(&state) % COUNT_OF(blocks);
        free(blocks[i]);
        size_t size = random_size(&state, 100 * KIB);
        blocks[i] = malloc(size);
        EXPECT(blocks[i] != NULL);
        touch(blocks[i], size < 64 ? size : 64);
    }
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    return NULL;
}

static unsigned long busy[4];

static void start_busy(size_t count)
{
    for (size_t i = 0; i < COUNT_OF(busy); i++)
        busy[i] = 0;
    for (size_t i = 0; i < count; i++)
        busy[i] = thread_start(allocate_until_stop, (void *)(i + 1), 0);
    sleep_ms(10);
}

static void stop_busy(void)
{
    atomic_store(&stop, true);
    for (size_t i = 0; i < COUNT_OF(busy); i++) {
        if (busy[i] != 0)
            thread_join(busy[i]);
    }
}

static void child_work(unsigned seed)
{
    exercise_small(seed);
    if (seed % 16 == 0)
        exercise(seed);
}

static void fork_times(unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            child_work(i);
            _exit(0);
        }
        expect_child_ok(pid);
    }
}

static void check_fork_1000_while_others_allocate(void)
{
    start_busy(2);
    fork_times(1000);
    stop_busy();
}

static void *fork_in_thread(void *arg)
{
    fork_times((unsigned)(uintptr_t)arg);
    return NULL;
}

static void check_fork_1000_from_other_threads(void)
{
    start_busy(1);
    unsigned long a = thread_start(fork_in_thread, (void *)500, 0), b = thread_start(fork_in_thread, (void *)500, 0);
    thread_join(a);
    thread_join(b);
    stop_busy();
}

static void check_fork_child_frees_blocks_of_others(void)
{
    void *blocks[1000];
    start_busy(3);
    for (unsigned round = 0; round < 100; round++) {
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            blocks[i] = malloc(i);
            EXPECT(blocks[i] != NULL);
            fill(blocks[i], i, i);
        }
        pid_t pid = fork();
        if (pid == 0) {
            for (size_t i = 0; i < COUNT_OF(blocks); i++) {
                EXPECT(verify(blocks[i], i, i));
                free(blocks[i]);
            }
            child_work(round);
            _exit(0);
        }
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            EXPECT(verify(blocks[i], i, i));
            free(blocks[i]);
        }
        expect_child_ok(pid);
    }
    stop_busy();
}

static void check_fork_child_starts_threads(void)
{
    start_busy(2);
    for (unsigned round = 0; round < 60; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            atomic_store(&stop, false);
            unsigned long a = thread_start(allocate_until_stop, (void *)7, 0),
                          b = thread_start(allocate_until_stop, (void *)8, 0);
            sleep_ms(3);
            atomic_store(&stop, true);
            thread_join(a);
            thread_join(b);
            child_work(round);
            exit(0);
        }
        expect_child_ok(pid);
    }
    stop_busy();
}

static void check_fork_of_fork(void)
{
    start_busy(2);
    for (unsigned round = 0; round < 100; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            child_work(round);
            pid_t inner = fork();
            if (inner == 0) {
                child_work(round + 1);
                _exit(0);
            }
            expect_child_ok(inner);
            child_work(round + 2);
            _exit(0);
        }
        expect_child_ok(pid);
    }
    stop_busy();
}

static void check_fork_before_first_malloc(void)
{
    fork_times(3);
    exercise(1);
    fork_times(3);
}

/* Memory of parent and child is apart, large and small, before and after. */
static void check_fork_memory_is_private(void)
{
    static const size_t sizes[] = { 16, 500, 20000, 300 * KIB, 5 * MIB, 100 * MIB };
    void *blocks[COUNT_OF(sizes)];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        blocks[i] = malloc(sizes[i]);
        EXPECT(blocks[i] != NULL);
        fill(blocks[i], sizes[i], i);
    }
    pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            EXPECT(verify(blocks[i], sizes[i], i));
            memset(blocks[i], 0xff, sizes[i]);
            blocks[i] = realloc(blocks[i], sizes[i] / 2 + 1);
            EXPECT(blocks[i] != NULL);
            free(blocks[i]);
        }
        child_work(1);
        _exit(0);
    }
    expect_child_ok(pid);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        EXPECT(verify(blocks[i], sizes[i], i));
        free(blocks[i]);
    }
}

/* Memory of threads that the child does not have is not lost for good: a chain of 80 forks, the child goes on. */
static void check_fork_chain_does_not_grow(void)
{
    size_t before = rss_bytes();
    for (unsigned i = 0; i < 80; i++) {
        unsigned long thread = thread_start(allocate_until_stop, (void *)(uintptr_t)(i + 1), 0);
        sleep_ms(1);
        pid_t pid = fork();
        if (pid != 0) {
            atomic_store(&stop, true);
            thread_join(thread);
            expect_child_ok(pid);
            _exit(0);
        }
        child_work(i);
    }
    EXPECT_CMP(rss_bytes(), <=, before + 120 * MIB);
    _exit(0);
}

/* Handlers of fork that allocate. Early ones are registered before the library can have registered its own. */

static _Atomic unsigned handler_calls;

static void handler_allocates(void)
{
    void *p = malloc(60), *q = calloc(1, 70000), *r = malloc(3000);
    EXPECT(p != NULL && q != NULL && r != NULL);
    r = realloc(r, 9000);
    EXPECT(r != NULL);
    free(p);
    free(q);
    free(r);
    atomic_fetch_add(&handler_calls, 1);
}

static void register_handlers(void)
{
    EXPECT(pthread_atfork(handler_allocates, handler_allocates, handler_allocates) == 0);
}

static void fork_with_handlers(void)
{
    start_busy(2);
    fork_times(200);
    stop_busy();
    EXPECT_CMP(atomic_load(&handler_calls), >=, 400);
}

static void check_atfork_handlers_allocate(void)
{
    exercise(1);
    register_handlers();
    fork_with_handlers();
}

static void check_atfork_early_handlers_allocate(void)
{
    fork_with_handlers();
}

static void check_atfork_handlers_on_both_sides(void)
{
    exercise(1);
    register_handlers();
    fork_with_handlers();
}

static _Atomic(void *) handed_to_handler;

static void handler_frees(void)
{
    void *p = atomic_exchange(&handed_to_handler, NULL);
    free(p);
}

static void check_atfork_handlers_free(void)
{
    EXPECT(pthread_atfork(handler_frees, NULL, NULL) == 0);
    EXPECT(pthread_atfork(NULL, handler_frees, handler_frees) == 0);
    start_busy(2);
    for (unsigned i = 0; i < 200; i++) {
        atomic_store(&handed_to_handler, malloc(i * 100));
        pid_t pid = fork();
        if (pid == 0) {
            child_work(i);
            _exit(0);
        }
        expect_child_ok(pid);
    }
    stop_busy();
}

/* exec */

static void check_vfork_exec(void)
{
    start_busy(2);
    for (unsigned i = 0; i < 200; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(127);
        }
        expect_child_ok(pid);
        exercise(i);
    }
    stop_busy();
}

static void check_posix_spawn(void)
{
    char name[] = "true", *argv[] = { name, NULL };
    start_busy(2);
    for (unsigned i = 0; i < 200; i++) {
        pid_t pid;
        EXPECT(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) == 0);
        expect_child_ok(pid);
    }
    stop_busy();
}

static void check_popen_and_system(void)
{
    start_busy(2);
    for (unsigned i = 0; i < 40; i++) {
        char text[32];
        FILE *pipe = popen("echo answer", "r");
        EXPECT(pipe != NULL && fgets(text, sizeof text, pipe) != NULL);
        EXPECT(strcmp(text, "answer\n") == 0);
        EXPECT(pclose(pipe) == 0);
        EXPECT(system("exit 0") == 0);
    }
    stop_busy();
}

/* After main. Each check checks itself in a child, so that a failure after main is seen. */

static void *from_constructor, *from_early;

/* Only for the one check: others want to be the first to allocate. */
__attribute__((constructor)) static void allocate_in_constructor(int argc, char **argv)
{
    if (argc < 3 || strcmp(argv[2], "constructor_and_destructor_allocate") != 0)
        return;
    from_constructor = malloc(100);
    if (from_constructor != NULL)
        fill(from_constructor, 100, 77);
}

__attribute__((destructor)) static void free_in_destructor(void)
{
    if (from_constructor == NULL)
        return;
    EXPECT(verify(from_constructor, 100, 77));
    from_constructor = realloc(from_constructor, 100000);
    EXPECT(from_constructor != NULL && verify(from_constructor, 100, 77));
    free(from_constructor);
    exercise(5);
}

static void check_constructor_allocates(void)
{
    EXPECT(from_constructor != NULL && verify(from_constructor, 100, 77));
    from_constructor = realloc(from_constructor, 300);
    EXPECT(from_constructor != NULL && verify(from_constructor, 100, 77));
}

static void allocate_early(void)
{
    from_early = malloc(5000);
    EXPECT(from_early != NULL);
    fill(from_early, 5000, 78);
    exercise(6);
}

static void check_before_constructors_allocates(void)
{
    EXPECT(from_early != NULL && verify(from_early, 5000, 78));
    free(from_early);
    exercise(7);
}

static void *for_atexit;

static void atexit_handler(void)
{
    EXPECT(verify(for_atexit, 200, 79));
    for_atexit = realloc(for_atexit, 500000);
    EXPECT(for_atexit != NULL && verify(for_atexit, 200, 79));
    free(for_atexit);
    exercise(8);
    thread_join(thread_start(allocate_until_stop, (void *)1, 0));
}

static void check_atexit_allocates(void)
{
    for_atexit = malloc(200);
    EXPECT(for_atexit != NULL);
    fill(for_atexit, 200, 79);
    atomic_store(&stop, true);
    EXPECT(atexit(atexit_handler) == 0);
    exit(0);
}

static void *exit_in_thread(void *arg)
{
    exercise(1);
    exit(arg == NULL ? 0 : 1);
}

static void check_exit_from_other_thread(void)
{
    for_atexit = malloc(200);
    EXPECT(for_atexit != NULL);
    fill(for_atexit, 200, 79);
    atomic_store(&stop, true);
    EXPECT(atexit(atexit_handler) == 0);
    thread_start(exit_in_thread, NULL, 0);
    for (;;)
        pause();
}

static void check_exit_while_others_allocate(void)
{
    for (unsigned round = 0; round < 150; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (size_t i = 0; i < 4; i++)
                thread_start(allocate_until_stop, (void *)(i + 1), 0);
            exercise_small(round);
            exit(0);
        }
        expect_child_ok(pid);
    }
}

static void quick_exit_handler(void)
{
    exercise(3);
}

static void check_quick_exit_allocates(void)
{
    EXPECT(at_quick_exit(quick_exit_handler) == 0);
    quick_exit(0);
}

/* What libc itself allocates, freed by the program. */
static void check_libc_blocks(void)
{
    for (unsigned i = 0; i < 200; i++) {
        char *text = strdup("duplicated"), *printed = NULL, *line = NULL, *stream = NULL;
        size_t size = 0, room = 0;
        EXPECT(text != NULL && strcmp(text, "duplicated") == 0);
        EXPECT(asprintf(&printed, "%*d", 3000, 7) == 3000);
        FILE *memory = open_memstream(&stream, &size);
        EXPECT(memory != NULL);
        for (int k = 0; k < 2000; k++)
            fprintf(memory, "%d ", k);
        EXPECT(fclose(memory) == 0 && size > 8000 && stream != NULL);
        char *path = realpath("/", NULL), *folder = getcwd(NULL, 0);
        EXPECT(path != NULL && folder != NULL && malloc_usable_size(path) >= 2);
        FILE *file = fopen("/proc/self/status", "r");
        EXPECT(file != NULL);
        while (getline(&line, &room, file) > 0)
            continue;
        fclose(file);
        text = realloc(text, 10000);
        EXPECT(text != NULL && strcmp(text, "duplicated") == 0);
        free(text);
        free(printed);
        free(stream);
        free(path);
        free(folder);
        free(line);
    }
    EXPECT(setenv("BATTERY_PROBE", "1", 1) == 0 && unsetenv("BATTERY_PROBE") == 0);
}

/* The shape of the process */

static unsigned count_fds(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void check_holds_no_descriptors(void)
{
    EXPECT_CMP(count_fds(), ==, 3);
    exercise(1);
    start_busy(2);
    sleep_ms(300);
    stop_busy();
    void *p = malloc(200 * MIB);
    EXPECT(p != NULL);
    touch(p, 200 * MIB);
    free(p);
    sleep_ms(1500);
    EXPECT_CMP(count_fds(), ==, 3);
}

/* The lowest free number is the next descriptor's: programs that close 0 and open rely on it. A library's thread that
 * opens files in the program's table breaks that for a moment, now and then. */
static void check_next_descriptor_is_the_lowest(void)
{
    void *blocks[100];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = malloc(2 * MIB);
        EXPECT(blocks[i] != NULL);
        touch(blocks[i], 2 * MIB);
    }
    uint64_t end = now_ns() + UINT64_C(3000000000);
    for (size_t i = 0; now_ns() < end; i++) {
        int fd = open("/dev/null", O_RDONLY);
        EXPECT_CMP(fd, ==, 3);
        close(fd);
        if (i % 1000 == 0) {
            free(blocks[i / 1000 % COUNT_OF(blocks)]);
            blocks[i / 1000 % COUNT_OF(blocks)] = malloc(i % 5000);
        }
    }
}

/* A daemon closes everything; its own files then get the numbers that a library may remember. */
static void check_survives_closed_descriptors(void)
{
    exercise(1);
    for (int fd = 0; fd < 256; fd++) {
        if (fd != 2)
            close(fd);
    }
    char path[] = "/tmp/battery-XXXXXX";
    int file = mkstemp(path);
    EXPECT(file == 0);
    EXPECT(unlink(path) == 0);
    for (int i = 1; i < 8; i++)
        dup2(file, i == 2 ? 20 : i);
    EXPECT(write(file, "content", 7) == 7);
    for (unsigned round = 0; round < 3; round++) {
        void *blocks[2000];
        for (size_t i = 0; i < COUNT_OF(blocks); i++) {
            blocks[i] = malloc(50000);
            EXPECT(blocks[i] != NULL);
            touch(blocks[i], 50000);
        }
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            free(blocks[i]);
        sleep_ms(1200);
    }
    char text[16];
    EXPECT(lseek(file, 0, SEEK_END) == 7);
    EXPECT(pread(file, text, sizeof text, 0) == 7 && memcmp(text, "content", 7) == 0);
}

static void check_without_spare_descriptors(void)
{
    limit_to(RLIMIT_NOFILE, 3);
    start_busy(2);
    sleep_ms(100);
    stop_busy();
    malloc_trim(0);
    exercise(2);
}

/* A signal that all of the program's threads block waits for sigtimedwait: a thread of the library must not take it. */
static void check_library_threads_take_no_signals(void)
{
    void *p = malloc(300 * MIB);
    EXPECT(p != NULL);
    touch(p, 300 * MIB);
    free(p);
    start_busy(2);
    stop_busy();
    sleep_ms(1500);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    EXPECT(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    for (unsigned i = 0; i < 20; i++) {
        int signo = i % 2 == 0 ? SIGUSR1 : SIGTERM;
        struct timespec second = { 1, 0 };
        EXPECT(kill(getpid(), signo) == 0);
        EXPECT(sigtimedwait(&set, NULL, &second) == signo);
    }
}

/* No thread may be started any more, as under a cgroup's pids limit: clone fails, malloc does not. */
static void check_no_more_threads_allowed(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { (unsigned short)COUNT_OF(code), code };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        check_skip("seccomp is not to be had here");
    }
    for (unsigned round = 0; round < 10; round++) {
        errno = ERRNO_MARK;
        void *p = malloc(100 * MIB);
        EXPECT(p != NULL);
        touch(p, 100 * MIB);
        free(p);
        for (unsigned i = 0; i < 20; i++)
            exercise(i);
        EXPECT_CMP(errno, ==, ERRNO_MARK);
        sleep_ms(50);
    }
}

/* The program moves the break by itself. */
static void check_program_uses_sbrk(void)
{
    exercise(1);
    char *own = sbrk(64 * 1024);
    EXPECT(own != (void *)-1);
    fill(own, 64 * KIB, 4);
    void *blocks[3000];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = malloc(2000);
        EXPECT(blocks[i] != NULL);
        memset(blocks[i], 1, 2000);
        if (i % 500 == 0)
            EXPECT(sbrk(4096) != (void *)-1);
    }
    EXPECT(verify(own, 64 * KIB, 4));
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
    exercise(2);
    EXPECT(verify(own, 64 * KIB, 4));
}

static void check_other_layout(void)
{
    for (unsigned i = 0; i < 20; i++)
        exercise(i);
    void *p = malloc(2 * GIB);
    EXPECT(p != NULL);
    free(p);
    start_busy(2);
    fork_times(5);
    stop_busy();
}

/* No /proc, no /sys: nothing that is looked up later may be needed. */
static void check_chroot_without_proc(void)
{
    char folder[] = "/tmp/battery-XXXXXX";
    EXPECT(mkdtemp(folder) != NULL);
    bool inside = chroot(folder) == 0;
    if (!inside) {
        rmdir(folder);
        check_skip("chroot is not allowed here");
    }
    EXPECT(chdir("/") == 0);
    start_busy(2);
    void *p = malloc(200 * MIB);
    EXPECT(p != NULL);
    touch(p, 200 * MIB);
    free(p);
    for (unsigned i = 0; i < 20; i++)
        exercise(i);
    sleep_ms(1000);
    stop_busy();
    malloc_trim(0);
    exercise(3);
}

const struct check checks_process[] = {
    { "fork_1000_while_others_allocate", check_fork_1000_while_others_allocate, NULL, "seconds=120" },
    { "fork_1000_from_other_threads", check_fork_1000_from_other_threads, NULL, "seconds=120" },
    { "fork_child_frees_blocks_of_others", check_fork_child_frees_blocks_of_others, NULL, "" },
    { "fork_child_starts_threads", check_fork_child_starts_threads, NULL, "" },
    { "fork_of_fork", check_fork_of_fork, NULL, "" },
    { "fork_before_first_malloc", check_fork_before_first_malloc, NULL, "" },
    { "fork_memory_is_private", check_fork_memory_is_private, NULL, "" },
    { "fork_chain_does_not_grow", check_fork_chain_does_not_grow, NULL, "seconds=120" },
    { "atfork_handlers_allocate", check_atfork_handlers_allocate, NULL, "seconds=120" },
    { "atfork_early_handlers_allocate", check_atfork_early_handlers_allocate, register_handlers, "seconds=120" },
    { "atfork_handlers_on_both_sides", check_atfork_handlers_on_both_sides, register_handlers, "seconds=120" },
    { "atfork_handlers_free", check_atfork_handlers_free, NULL, "seconds=120" },
    { "vfork_exec", check_vfork_exec, NULL, "" },
    { "posix_spawn", check_posix_spawn, NULL, "" },
    { "popen_and_system", check_popen_and_system, NULL, "" },
    { "constructor_and_destructor_allocate", check_constructor_allocates, NULL, "" },
    { "before_constructors_allocates", check_before_constructors_allocates, allocate_early, "" },
    { "atexit_allocates", check_atexit_allocates, NULL, "" },
    { "exit_from_other_thread", check_exit_from_other_thread, NULL, "" },
    { "exit_while_others_allocate", check_exit_while_others_allocate, NULL, "" },
    { "quick_exit_allocates", check_quick_exit_allocates, NULL, "" },
    { "libc_blocks", check_libc_blocks, NULL, "" },
    { "holds_no_descriptors", check_holds_no_descriptors, NULL, "" },
    { "next_descriptor_is_the_lowest", check_next_descriptor_is_the_lowest, NULL, "" },
    { "survives_closed_descriptors", check_survives_closed_descriptors, NULL, "" },
    { "without_spare_descriptors", check_without_spare_descriptors, NULL, "" },
    { "library_threads_take_no_signals", check_library_threads_take_no_signals, NULL, "" },
    { "no_more_threads_allowed", check_no_more_threads_allowed, NULL, "" },
    { "program_uses_sbrk", check_program_uses_sbrk, NULL, "" },
    { "layout_without_randomization", check_other_layout, NULL, "noaslr" },
    { "layout_with_unlimited_stack", check_other_layout, NULL, "stack=unlimited" },
    { "chroot_without_proc", check_chroot_without_proc, NULL, "" },
    { NULL, NULL, NULL, NULL },
};
