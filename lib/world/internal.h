/* world/internal.h: what the files of this layer share.
 *
 * Owns        the words by which a stop of the world is asked for, answered and ended.
 * Sync        [STOP]: `pending` counts the threads that were asked and have not answered. [START]: `starts` goes up by one
 *             when the world starts; `sleepers` are the threads that wait for that.
 */
#ifndef OUROI_WORLD_INTERNAL_H
#define OUROI_WORLD_INTERNAL_H

#include "world/world.h"

extern struct ouroi_lock ouroi_world_lock OUROI_HIDDEN;
extern struct ouroi_lock ouroi_registry_lock OUROI_HIDDEN;

/* The first of all threads' structs. */
struct ouroi_thread *ouroi_threads_first(void);

/* Takes registry_lock; a running thread that has to wait for it counts as blocking meanwhile. */
void ouroi_registry_acquire(void);

/* [STATE] RUNNING to BLOCKING, or to STOPPED where the stopper has asked, who is told. By the thread itself. */
void ouroi_state_leave(struct ouroi_thread *thread);
/* And back, as soon as the world runs and nobody holds the thread. */
void ouroi_state_enter(struct ouroi_thread *thread);
/* Waits until the thread is not held; returns its state then. */
uint32_t ouroi_state_await_release(struct ouroi_thread *thread);
/* One thread less that the stopper waits for. */
void ouroi_stop_report(void);
/* Sleeps while the thread is STOPPED. Between begin and end, the next stop waits a little for it. */
void ouroi_sleep_begin(void);
void ouroi_sleep_while_stopped(struct ouroi_thread *thread);
void ouroi_sleep_end(void);
void ouroi_grace_note(struct ouroi_thread *thread);

/* Whose turn it is to stop the world, first come, first served; then world_lock. ask never waits; take does, not RUNNING. */
uint32_t ouroi_turn_ask(void);
void ouroi_turn_take(uint32_t ticket);
void ouroi_turn_give(void);
void ouroi_stop_fork_child(void);

extern uint64_t ouroi_stop_warn_ns OUROI_HIDDEN; /* 0: never */

/* signal.c */
void ouroi_signal_init(void); /* OURO_STW_SIGNAL; registry_lock is held */
bool ouroi_signal_is_on(void);
/* Asks a thread that is late to stop where it is. */
void ouroi_signal_send(struct ouroi_thread *thread);
/* Interrupts a running thread, and keeps it where it is until ouroi_signal_let_go. False: it did not hear in time. */
bool ouroi_signal_hold(struct ouroi_thread *thread, uintptr_t *pc, uintptr_t *sp);
void ouroi_signal_let_go(void);

/* late.c: the lines on stderr about a thread that holds up a stop of the world. */
void ouroi_late_warn(struct ouroi_thread *thread, uint64_t waited_ns);

/* workers.c */
void ouroi_workers_fork_prepare(void);
void ouroi_workers_fork_done(bool child);
/* For tests: the share of each node in `count` workers, node by node as they are made, for nodes with cpus[n] CPUs. */
void ouroi_workers_plan(const unsigned *cpus, unsigned nodes, uint8_t *node_of, unsigned count);
extern const char *ouroi_workers_synthetic OUROI_HIDDEN; /* for tests: a topology as hwloc describes such */
/* For tests: runs the work in place of ouroi_workers_run. */
extern void (*ouroi_workers_hook)(unsigned count, void (*work)(void *arg, unsigned index, unsigned count),
                                  void *arg) OUROI_HIDDEN;

#endif
