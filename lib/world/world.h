/* world/world.h: registered threads, their states, stopping and starting all of them, worker threads.
 *
 * Owns        struct ouroi_thread, one a number, never freed; numbers.
 * Invariants  a thread's number says who owns an object (ouro_owner_). A number whose thread is gone is given to the next
 *             thread that comes, and with it what that number owns: so nothing need be done about the objects of a thread
 *             that ends, and at any time a number has at most one agent, who alone may use the local counts of its objects:
 *               RUNNING            the thread itself
 *               BLOCKING, GONE     who holds it (ouroi_thread_hold)
 *               STOPPED            the stopper of the world; unless `by_signal`: nobody, as the thread may be in the middle of
 *                                  a count.
 * Sync        [STATE]: the state word; a thread leaves RUNNING by itself only, everybody else's changes are made by
 *             compare-and-swap. registry_lock guards the table of numbers; the stopper holds it from stop to start, so that
 *             no thread comes or goes meanwhile; world_lock lets one stopper in at a time.
 */
#ifndef OUROI_WORLD_H
#define OUROI_WORLD_H

#include <ouro/thread.h>

#include "heap/heap.h"
#include "os/os.h"
#include "sync/sync.h"

/* Numbers have bit 15 set: no pointer has that in the place of a header's owner, so that a free block seems to be nobody's. */
#define OUROI_NUMBER_FIRST 0x8000u
#define OUROI_NUMBER_LAST 0xfffeu
#define OUROI_NUMBER_NONE \
    0xffffu /* of a thread that is not registered, or for which there was no number: owns nothing */

enum ouroi_state {
    OUROI_GONE = 0, /* the number has no thread */
    OUROI_RUNNING = 1,
    OUROI_BLOCKING = 2,
    OUROI_STOPPED = 3, /* was BLOCKING, or waits at a safepoint, or in the signal handler; may not go on */
    OUROI_STATE_MASK = 3,
    OUROI_ASKED = 4,   /* RUNNING: the stopper counts on hearing from it */
    OUROI_HELD = 8,    /* BLOCKING or GONE: an agent is at work */
    OUROI_WAITED = 16, /* HELD: somebody sleeps until it is released */
};

/* Bits of ouro_self_.request. */
enum {
    OUROI_REQUEST_STOP = 1,  /* the world is to stop */
    OUROI_REQUEST_MERGE = 2, /* the merge queue has something */
    OUROI_REQUEST_GRACE = 4, /* somebody waits for this thread to pass a safepoint */
    OUROI_REQUEST_OTHER = 8, /* ouroi_safepoint_hook wants to be called */
};

struct ouroi_thread {
    uint32_t state;          /* enum ouroi_state; a futex word */
    uint16_t number;         /* OUROI_NUMBER_NONE: beyond the last number; objects it makes have no owner */
    bool by_signal;          /* stopped by the signal; its own to write, meant where it is STOPPED */
    bool late;               /* has been named in this stop of the world */
    uint32_t depth;          /* blocking regions, by the thread alone */
    struct ouro_self_ *self; /* the thread's words, NULL when it is gone */
    uint64_t grace;          /* [GRACE] the last epoch that it has passed */
    int tid;                 /* of the kernel */
    char name[16];
    uintptr_t pthread;
    uint32_t pins;             /* [PIN] how many look at `self` at this moment */
    struct ouroi_thread *next; /* all there are, for ever */
    struct ouroi_thread *next_gone;
    bool listed;
    /* What the layers above keep here, zero when a number is new; each says whose it is. */
    struct ouroi_heap *nodes; /* object: tracked objects come from here */
    void *object;             /* object: struct of its own */
    void *gc;                 /* gc: the same */
};

/* The calling thread's; NULL if it is not registered. */
extern OUROI_HIDDEN __thread struct ouroi_thread *ouroi_thread_self __attribute__((tls_model("initial-exec")));

/* The calling thread's, registered if need be. NULL: no memory. */
struct ouroi_thread *ouroi_thread_get(void);

/* Hooks of the layers above; NULL: nothing to do. attach: runs as the thread registers, RUNNING, under registry_lock, so
 * that the world is not stopped meanwhile; 0 or -ENOMEM. detach: as it unregisters, still RUNNING, no lock held.
 * blocking: before it leaves RUNNING for a blocking region or its end, still RUNNING; drains the merge queue; MERGE has been
 * cleared; called again as long as that comes back, at a thread's end after detach too.
 * safepoint: at a slow safepoint, RUNNING, with the bits that were set, but STOP, and are cleared now; called before it stops.
 * fork_prepare: before a fork, in the forking thread, under registry_lock, nobody HELD: takes locks above that rank.
 * fork_parent: gives them back. fork_child: the same in the child, by ouroi_lock_reset; all other numbers are GONE by then;
 * thread: the caller's, or NULL. */
struct ouroi_world_hooks {
    int (*attach)(struct ouroi_thread *thread);
    void (*detach)(struct ouroi_thread *thread);
    void (*blocking)(struct ouroi_thread *thread);
    void (*safepoint)(struct ouroi_thread *thread, uint32_t requests);
    void (*fork_child)(struct ouroi_thread *thread);
    void (*fork_prepare)(void);
    void (*fork_parent)(void);
};
extern OUROI_HIDDEN struct ouroi_world_hooks ouroi_world_hooks;

/* The thread with that number, or the one that had it last. number: in a header that the caller may look at. */
struct ouroi_thread *ouroi_thread_of(uint16_t number);

/* Sets bits of another thread's request word, if it has a thread. Seq_cst: whoever sets a bit and then finds the thread
 * RUNNING knows that it will see the bit before it blocks. */
void ouroi_thread_request(struct ouroi_thread *thread, uint32_t bits);

/* Makes the caller the agent of a thread that is BLOCKING or GONE (sets HELD). False: it is running, or stopped; ask it
 * instead. While held, the thread waits to go on: be quick, take no lock of rank below QUEUE, call nothing of the program,
 * hold no second one. From hold to release is a section (ouroi_section_begin). */
bool ouroi_thread_hold(struct ouroi_thread *thread);
void ouroi_thread_release(struct ouroi_thread *thread);

/* Stops the world: on return every other registered thread is STOPPED, none can register, and the caller alone runs. The
 * caller is registered, RUNNING and in no blocking region; while it waits for its turn, and for the others, it counts as
 * blocking, so that this is a safepoint. O(threads). */
void ouroi_world_stop(void);
void ouroi_world_start(void);
/* Whether the caller has stopped the world. */
bool ouroi_world_is_stopped(void);

/* Calls fn for every number that ever had a thread, GONE ones too, and for the threads without a number. Takes no lock:
 * unless the world is stopped, threads may come and go meanwhile. */
void ouroi_thread_each(void (*fn)(struct ouroi_thread *thread, void *arg), void *arg);
size_t ouroi_thread_count(void); /* that are registered */

/* Grace periods, for memory that readers without a lock may still look at. The epoch goes up by ouroi_grace_begin, which asks
 * every running thread to pass a safepoint, and returns the number to wait for; ouroi_grace_passed says whether every thread
 * has since then been at a safepoint or in a blocking region; a stop of the world is neither. [GRACE] Neither waits. */
uint64_t ouroi_grace_begin(void);
bool ouroi_grace_passed(uint64_t epoch);

/* A section: from begin to end the calling thread is not stopped by the signal. For code of the library that calls libc
 * (memcpy, a system call) while something is half done: an instruction of the library's own never needs it, and nor does
 * one under a lock. Nests. Around no call of the program. */
extern OUROI_HIDDEN __thread uint32_t ouroi_section_depth __attribute__((tls_model("initial-exec")));
OUROI_INLINE void ouroi_section_begin(void)
{
    ouroi_section_depth++;
    __asm__ __volatile__("" ::: "memory"); /* the handler runs on this thread */
}
OUROI_INLINE void ouroi_section_end(void)
{
    __asm__ __volatile__("" ::: "memory");
    ouroi_section_depth--;
}

/* Workers (workers.c): calls work(arg, index) for index 0..count-1, index 0 on the caller, the others on threads that were
 * made once and sleep in between; returns when all have returned. Fewer are used where threads cannot be made: *got, what
 * every index must be told before it starts. Workers are bound to NUMA nodes by hwloc, worker i to the node that
 * ouroi_worker_node(i) says. They are no registered threads; they may run while the world is stopped. */
/* Makes the threads for that many ahead of time; how many there are (the caller is one). While the world is stopped no
 * thread is made if one may have been stopped by the signal, as it may hold libc's locks: so call this before. */
unsigned ouroi_workers_prepare(unsigned count);
void ouroi_workers_run(unsigned count, void (*work)(void *arg, unsigned index, unsigned count), void *arg);
unsigned ouroi_worker_node(unsigned index);
/* CPUs that the process may use: affinity and the cgroup's quota. At least 1. */
unsigned ouroi_world_cpus(void);

/* For tests: the last number given out. */
extern OUROI_HIDDEN uint32_t ouroi_world_number_limit;

#endif
