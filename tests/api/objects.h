/* api/objects.h: what the tests of objects share: types that write down what happens to them, threads that do as they are
 * told, programs run again as children.
 *
 * Owns        nothing beyond what a call returns.
 * Invariants  cmocka's asserts are for the main thread; other threads, destroy and finalize use EXPECT, which ends the
 *             program.
 * Sync        a puppet and who commands it take turns: everything one writes is seen by the other.
 */
#ifndef API_OBJECTS_H
#define API_OBJECTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <ouro/object.h>

#include "tests.h"

#define EXPECT(condition)                                 \
    do {                                                  \
        if (!(condition))                                 \
            objects_fail(#condition, __FILE__, __LINE__); \
    } while (0)
void objects_fail(const char *what, const char *file, int line) __attribute__((noreturn));

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED false
#endif

/* Seconds that anything may take that has to happen at all. */
#define PATIENCE_S 30

double now_s(void);
void sleep_ms(unsigned ms);
/* Waits until *what is at least `least`, reaching safepoints meanwhile or not. False: it took longer than PATIENCE_S. */
bool wait_polling(_Atomic size_t *what, size_t least);
bool wait_deaf(_Atomic size_t *what, size_t least);

/* An object that tells of its death. MAGIC while it lives. */
#define MAGIC UINT64_C(0x6f75726f6f757261)
#define SCRUBBED UINT64_C(0xdeaddeaddeaddead)
struct probe {
    ouro_object base;
    uint64_t magic;
    _Atomic size_t *deaths; /* counts them, if set */
    pthread_t *by;          /* who freed it is written there, if set */
    uint64_t tag;
};
extern ouro_type probe_type; /* no references: untracked */
struct probe *probe_new(_Atomic size_t *deaths);

/* The same with two references. */
struct pair {
    struct probe probe;
    ouro_object *left, *right;
};
extern ouro_type pair_type;
struct pair *pair_new(_Atomic size_t *deaths, void *left, void *right); /* takes their references */

/* Threads that do as they are told. How they wait for the next order: */
enum rest {
    REST_BLOCKING, /* in a blocking region */
    REST_POLLING,  /* reaching safepoints */
    REST_DEAF,     /* running, and reaching none */
    REST_PLAIN,    /* asleep outside of any region; for threads that are not registered */
};
struct puppet {
    pthread_t thread;
    enum rest rest;
    void (*fn)(void *arg);
    void *arg;
    _Atomic size_t asked, done;
    bool last;
};
void puppet_start(struct puppet *puppet, enum rest rest);
/* Has fn(arg) run by the puppet, and waits for that; the caller is deaf meanwhile. */
void puppet_do(struct puppet *puppet, void (*fn)(void *arg), void *arg);
/* The same, the caller polling meanwhile: for what may stop the world. */
void puppet_do_while_polling(struct puppet *puppet, void (*fn)(void *arg), void *arg);
/* Without waiting. */
void puppet_ask(struct puppet *puppet, void (*fn)(void *arg), void *arg);
void puppet_await(struct puppet *puppet);
/* The thread ends; it is gone on return. */
void puppet_end(struct puppet *puppet);

/* Orders: what is counted is *(void **)arg or arg itself. */
void order_decref(void *obj);
void order_incref(void *obj);
void order_nothing(void *unused);

/* Runs fn(arg) on a new thread with a stack of that many KiB (more where a sanitizer needs it), and waits in a blocking
 * region. */
void with_stack(size_t kib, void (*fn)(void *arg), void *arg);

/* Cases that need a process of their own: the program runs itself again as `program --case NAME`. */
struct child_case {
    const char *name;
    void (*run)(void);
};
/* For main: runs the case that the command line names and exits; returns if it names none. Exit status 0 if it returns. */
void child_main(int argc, char **argv, const struct child_case *cases, size_t count);
/* Runs a case with NAME=VALUE added to the environment (NULL: as it is). Returns the wait status; stderr in text. */
int child_run(const char *name, const char *env, char *text, size_t size);
bool child_was_fine(int status);
bool child_aborted(int status);
size_t lines_of(const char *text);

#endif
