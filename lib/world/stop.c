/* world/stop.c: stopping and starting the world.
 *
 * Owns        the turn, and the words that the stopper and the stopped tell each other by (internal.h).
 * Invariants  from stop to start the stopper has the turn, world_lock and registry_lock. `pending` is the number of threads
 *             that are ASKED, less those that have answered and not yet been counted down.
 * Sync        [STOP], [START], [TURN].
 *
 * Who waits for its turn, and who waits for the others, is not RUNNING. Threads that wait for the world to start are let
 * in before it is stopped again, so that one collection after the other starves nobody: the next stopper waits for them,
 * until LET_IN_NS after the start.
 */
#include "world/internal.h"

#include <errno.h>
#include <limits.h>

#define SIGNAL_AFTER_NS ((uint64_t)1000000) /* before a thread is sent the signal for the first time */
#define SIGNAL_EVERY_NS ((uint64_t)100000)  /* and again: it was at work in the library */
#define SIGNAL_OFTEN 100                    /* times; then it is sent less often */
#define SIGNAL_SELDOM_NS ((uint64_t)1000000)
#define LET_IN_NS ((uint64_t)5000000)
enum { SPINS = 200 };

struct ouroi_lock ouroi_world_lock = OUROI_LOCK_INIT(OUROI_RANK_WORLD);
uint64_t ouroi_stop_warn_ns = 1000000000;

static uint32_t turn_next, turn_now; /* tickets */
static uint32_t pending;
static uint32_t starts;
static uint32_t sleepers, letting_in;
static uint64_t started_ns; /* when the world started last; who has the turn's */
static __thread bool is_stopper;

bool ouroi_world_is_stopped(void)
{
    return is_stopper;
}

uint32_t ouroi_turn_ask(void)
{
    /* [TURN next] seq_cst, pairs with [TURN give]: who gives the turn sees that somebody waits. model: stop.turn.1 */
    return ouroi_atomic_fetch_add_seq_cst(&turn_next, 1);
}

void ouroi_turn_take(uint32_t ticket)
{
    uint32_t now;
    /* [TURN look] seq_cst, pairs with [TURN give]. model: stop.turn.2 */
    while ((now = ouroi_atomic_load_seq_cst(&turn_now)) != ticket)
        ouroi_os.futex_wait(&turn_now, now, 0);
    ouroi_lock_acquire(&ouroi_world_lock);
}

void ouroi_turn_give(void)
{
    ouroi_lock_release(&ouroi_world_lock);
    /* [TURN give] seq_cst, pairs with [TURN look]. model: stop.turn.3 */
    uint32_t now = ouroi_atomic_fetch_add_seq_cst(&turn_now, 1) + 1;
    if (ouroi_atomic_load_seq_cst(&turn_next) != now) /* [TURN give] seq_cst, pairs with [TURN next] */
        ouroi_os.futex_wake(&turn_now, INT_MAX);
}

void ouroi_stop_report(void)
{
    /* [STOP answer] seq_cst, pairs with [STOP wait]. model: stop.report.1 */
    if (ouroi_atomic_fetch_sub_seq_cst(&pending, 1) == 1)
        ouroi_os.futex_wake(&pending, 1);
}

void ouroi_sleep_begin(void)
{
    /* [START sleep] seq_cst, pairs with [START wake]: who starts the world sees a sleeper, or this thread sees it started */
    ouroi_atomic_fetch_add_seq_cst(&sleepers, 1);
}

void ouroi_sleep_while_stopped(struct ouroi_thread *thread)
{
    for (;;) {
        /* [START look] seq_cst, pairs with [START wake]: no start is missed after this. model: stop.sleep.1 */
        uint32_t seen = ouroi_atomic_load_seq_cst(&starts);
        /* [STATE stopped] seq_cst, pairs with [STATE start]. model: stop.sleep.2 */
        if ((ouroi_atomic_load_seq_cst(&thread->state) & OUROI_STATE_MASK) != OUROI_STOPPED)
            return;
        ouroi_os.futex_wait(&starts, seen, 0); /* model: stop.sleep.3 */
    }
}

void ouroi_sleep_end(void)
{
    /* [START in] seq_cst, pairs with [START let-in]: the last to get in sees that somebody waits for that.
     * model: stop.let-in.1 */
    if (ouroi_atomic_fetch_sub_seq_cst(&sleepers, 1) == 1 && ouroi_atomic_load_seq_cst(&letting_in) != 0)
        ouroi_os.futex_wake(&sleepers, 1);
}

/* Waits for the threads that the last start woke, but not if they had LET_IN_NS since. */
static void let_in(void)
{
    /* [START let-in] seq_cst, pairs with [START in] */
    uint32_t waiting = ouroi_atomic_load_seq_cst(&sleepers);
    if (waiting == 0)
        return;
    uint64_t deadline = started_ns + LET_IN_NS, now;
    ouroi_atomic_store_seq_cst(&letting_in, 1); /* [START let-in] seq_cst, pairs with [START in] */
    /* [START let-in] seq_cst, pairs with [START in] */
    while ((waiting = ouroi_atomic_load_seq_cst(&sleepers)) != 0 && (now = ouroi_os.now_ns()) < deadline)
        ouroi_os.futex_wait(&sleepers, waiting, deadline - now);
    ouroi_atomic_store_relaxed(&letting_in, 0); /* relaxed: one wake too many does no harm */
}

/* Stops a thread that is not running, or asks it. */
static void ask(struct ouroi_thread *thread)
{
    thread->late = false;
    for (;;) {
        /* relaxed: the compare-and-swap decides */
        uint32_t state = ouroi_atomic_load_relaxed(&thread->state);
        if ((state & OUROI_HELD) != 0) {
            ouroi_state_await_release(thread);
        } else if (state == OUROI_GONE) {
            return; /* who would hold it is being stopped, and none can come */
        } else if (state == OUROI_BLOCKING) {
            /* [STATE stop] seq_cst, pairs with [STATE leave] and [STATE release]: what was done with what it owns.
             * model: stop.ask.1 */
            if (ouroi_atomic_cas_seq_cst(&thread->state, &state, OUROI_STOPPED))
                return;
        } else {
            OURO_ASSERT(state == OUROI_RUNNING);
            ouroi_atomic_fetch_add_relaxed(&pending, 1); /* relaxed: before it is asked. model: stop.ask.2 */
            /* [STATE ask] seq_cst, pairs with [STATE leave]. model: stop.ask.3 */
            if (ouroi_atomic_cas_seq_cst(&thread->state, &state, OUROI_RUNNING | OUROI_ASKED)) {
                ouroi_thread_request(thread, OUROI_REQUEST_STOP);
                return;
            }
            ouroi_atomic_fetch_sub_relaxed(&pending, 1); /* relaxed: only this thread waits for it */
        }
    }
}

static bool is_pending(struct ouroi_thread *thread)
{
    /* relaxed: a wrong answer costs a signal, or a line of text, too many */
    return ouroi_atomic_load_relaxed(&thread->state) == (OUROI_RUNNING | OUROI_ASKED);
}

static void warn_of_the_late(uint64_t waited_ns)
{
    for (struct ouroi_thread *thread = ouroi_threads_first(); thread != NULL; thread = thread->next) {
        if (is_pending(thread) && !thread->late) {
            thread->late = true;
            ouroi_late_warn(thread, waited_ns);
        }
    }
}

static void signal_the_late(void)
{
    for (struct ouroi_thread *thread = ouroi_threads_first(); thread != NULL; thread = thread->next)
        if (is_pending(thread))
            ouroi_signal_send(thread);
}

/* Waits until all that were asked have answered. */
static void await_answers(void)
{
    uint64_t begin = 0, warn_at = UINT64_MAX, signal_at = UINT64_MAX;
    unsigned signals = 0;
    uint32_t left;
    /* [STOP wait] seq_cst, pairs with [STOP answer] */
    for (unsigned spin = 0; (left = ouroi_atomic_load_seq_cst(&pending)) != 0; spin++) {
        if (ouroi_machine.cpus > 1 && spin < SPINS) {
            ouroi_pause();
            continue;
        }
        uint64_t now = ouroi_os.now_ns();
        if (begin == 0) {
            begin = now;
            warn_at = ouroi_stop_warn_ns != 0 ? now + ouroi_stop_warn_ns : UINT64_MAX;
            signal_at = ouroi_signal_is_on() ? now + SIGNAL_AFTER_NS : UINT64_MAX;
        }
        if (now >= signal_at) {
            signal_the_late();
            signal_at = now + (signals++ < SIGNAL_OFTEN ? SIGNAL_EVERY_NS : SIGNAL_SELDOM_NS);
        }
        if (now >= warn_at) {
            warn_of_the_late(now - begin);
            warn_at = UINT64_MAX;
        }
        uint64_t next = signal_at < warn_at ? signal_at : warn_at;
        ouroi_os.futex_wait(&pending, left, next == UINT64_MAX ? 0 : next - now);
    }
}

void ouroi_world_stop(void)
{
    struct ouroi_thread *self = ouroi_thread_self;
    OURO_CHECK(self != NULL && self->depth == 0 && !is_stopper);
    uint32_t ticket = ouroi_turn_ask(); /* before others are told to go on, who may want the next turn */
    ouroi_state_leave(self);
    ouroi_turn_take(ticket);
    let_in();
    ouroi_lock_acquire(&ouroi_registry_lock); /* model: stop.stop.1 */
    for (struct ouroi_thread *thread = ouroi_threads_first(); thread != NULL; thread = thread->next)
        if (thread != self)
            ask(thread);
    await_answers(); /* model: stop.stop.2 */
    ouroi_state_enter(self);
    is_stopper = true;
}

/* Lets a thread go on. */
static void let_go(struct ouroi_thread *thread)
{
    struct ouro_self_ *words = thread->self;
    if (words != NULL)
        /* [STATE unrequest] seq_cst, pairs with [STATE request]: this thread's own; the rest of the word is not touched */
        ouroi_atomic_fetch_and_seq_cst(&words->request, ~(uint32_t)OUROI_REQUEST_STOP);
    if (ouroi_atomic_load_relaxed(&thread->state) != OUROI_STOPPED) /* relaxed: nobody else changes it now */
        return;
    bool by_signal = OUROI_OWNED_GET(&thread->by_signal);
    /* [STATE start] seq_cst, pairs with [STATE enter] and [STATE stopped]: what the stopper did. A thread that the signal
     * stopped is never BLOCKING, when others might use its counts. model: stop.start.1 */
    ouroi_atomic_store_seq_cst(&thread->state, by_signal ? OUROI_RUNNING : OUROI_BLOCKING);
}

void ouroi_world_start(void)
{
    OURO_CHECK(is_stopper);
    for (struct ouroi_thread *thread = ouroi_threads_first(); thread != NULL; thread = thread->next)
        if (thread != ouroi_thread_self)
            let_go(thread);
    is_stopper = false;
    started_ns = ouroi_os.now_ns();
    ouroi_lock_release(&ouroi_registry_lock);
    /* [START wake] seq_cst, pairs with [START look] and [START sleep]. model: stop.start.2 */
    ouroi_atomic_fetch_add_seq_cst(&starts, 1);
    /* [START wake] seq_cst, pairs with [START sleep]. model: stop.start.3 */
    if (ouroi_atomic_load_seq_cst(&sleepers) != 0)
        ouroi_os.futex_wake(&starts, INT_MAX);
    /* Last: who has the next turn may stop this thread by the signal, before it has woken anybody. */
    ouroi_turn_give();
}

void ouroi_stop_fork_child(void)
{
    /* relaxed: the child has one thread */
    ouroi_atomic_store_relaxed(&turn_now, ouroi_atomic_load_relaxed(&turn_next) - is_stopper);
    ouroi_atomic_store_relaxed(&pending, 0);    /* relaxed: one thread */
    ouroi_atomic_store_relaxed(&sleepers, 0);   /* relaxed: one thread */
    ouroi_atomic_store_relaxed(&letting_in, 0); /* relaxed: one thread */
    if (!is_stopper)
        ouroi_lock_reset(&ouroi_world_lock);
}
