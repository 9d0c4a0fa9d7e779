/* preload/check.h: what every check of the battery uses.
 *
 * A check is a function that returns when all is well and ends the process through EXPECT when not. Each runs in a
 * process of its own (see runner.c), so that a crash or a hang is one failure, and so that a check may be the first
 * caller of malloc, exhaust memory, or leave a mess. Nothing here allocates.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* name: unique over all programs. run: in main. early: before any constructor, or NULL.
 * needs: words for the runner, separated by blanks, or "":
 *   as=BYTES data=BYTES            resource limits set before exec; K, M and G are understood
 *   stack=unlimited noaslr         other layouts of the address space
 *   nopreload                      run without LD_PRELOAD; BATTERY_LIBRARY names the library
 *   seconds=N                      time limit, 60 if not given: the machine may be busy */
struct check {
    const char *name;
    void (*run)(void);
    void (*early)(void);
    const char *needs;
};

#define CHECK_SKIPPED 77 /* exit status of a check that cannot run here */
#define ERRNO_MARK 7777  /* a value that no system call sets */

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define EXPECT(cond)                               \
    do {                                           \
        if (!(cond))                               \
            check_fail(__FILE__, __LINE__, #cond); \
    } while (0)

/* EXPECT with the two numbers that were compared: EXPECT_CMP(rss, <=, limit). */
#define EXPECT_CMP(left, op, right)                                                                     \
    do {                                                                                                \
        unsigned long long check_l = (unsigned long long)(left), check_r = (unsigned long long)(right); \
        if (!(check_l op check_r))                                                                      \
            check_fail_numbers(__FILE__, __LINE__, #left " " #op " " #right, check_l, check_r);         \
    } while (0)

#if defined(__GNUC__)
#define CHECK_NORETURN __attribute__((noreturn))
#else
#define CHECK_NORETURN
#endif

void check_fail(const char *file, int line, const char *what) CHECK_NORETURN;
void check_fail_numbers(const char *file, int line, const char *what, unsigned long long left,
                        unsigned long long right) CHECK_NORETURN;
void check_skip(const char *why) CHECK_NORETURN;

/* Hides a value from the optimizer: neither the size of a request nor the fate of a block is known to it. */
static inline void *keep(void *ptr)
{
    __asm__ volatile("" : "+r"(ptr) : : "memory");
    return ptr;
}

static inline size_t opaque(size_t size)
{
    __asm__ volatile("" : "+r"(size));
    return size;
}

size_t rss_bytes(void);  /* resident now */
size_t peak_bytes(void); /* the most resident since peak_reset */
void peak_reset(void);
size_t vm_bytes(void);                 /* address space in use */
size_t status_number(const char *key); /* a number of /proc/self/status, its unit KiB where it has one */
size_t fault_count(void);              /* minor page faults of this process */
uint64_t now_ns(void);
void sleep_ms(unsigned ms);

/* Content that depends on the seed and the offset. verify says whether it is still there. */
void fill(void *ptr, size_t size, uint64_t seed);
bool verify(const void *ptr, size_t size, uint64_t seed);
bool is_zero(const void *ptr, size_t size);
void touch(void *ptr, size_t size); /* writes one byte a page */
bool is_aligned(const void *ptr, size_t alignment);

/* A small generator; the state is the caller's. */
uint64_t next_random(uint64_t *state);
/* A size as programs ask for: most small, few large; at most max. */
size_t random_size(uint64_t *state, size_t max);

/* Sets the soft limit. resource as in setrlimit. */
void limit_to(int resource, size_t bytes);
void limit_lift(int resource);

/* Polls until the resident size is at most `bytes`, or `ms` have passed; the last value seen. Never allocates. */
size_t wait_for_rss(size_t bytes, unsigned ms);

/* The folder that the program lies in, with a slash at its end, and a file in it. */
const char *beside(const char *file);

/* Threads; failure to start one fails the check. stack_bytes 0: the default. */
typedef void *(*thread_fn)(void *);
unsigned long thread_start(thread_fn fn, void *arg, size_t stack_bytes);
void thread_join(unsigned long thread);

/* Waits for a child; fails the check unless it exited with 0. */
void expect_child_ok(int pid);

/* One pass over every entry point and size kind, with content verified: "does allocation work here at all". */
void exercise(uint64_t seed);
void exercise_small(uint64_t seed); /* a tenth of it, no block over 8 KiB */

#ifdef __cplusplus
}
#endif

#endif
