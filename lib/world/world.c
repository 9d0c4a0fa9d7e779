/* world/world.c: threads come, block, and go; numbers; grace periods; fork.
 *
 * Owns        the structs of threads, the table of numbers, the key whose destructor ends a registration.
 * Invariants  a struct is in the list of all for ever, once its first thread has attached. A number that was given out
 *             belongs to one struct. `self` is NULL or points at words of a living thread.
 * Sync        [STATE], [PIN], [GRACE], [NUMBER]; registry_lock (REGISTRY).
 *
 * The rule about waiting: a registered thread that is RUNNING never waits for anything that the stopper of the world may
 * hold or wait for. registry_lock and the turn are such: they are waited for as BLOCKING (ouroi_registry_acquire,
 * ouroi_world_stop) or unregistered. All other locks of the library are held by threads that reach no safepoint and begin no
 * blocking region while they hold them, so that their holders never wait for the world. HELD is the same: who holds a thread
 * is RUNNING, or has no registration, and releases it before anything else.
 *
 * A thread's states, and who takes the arrows:
 *
 *     GONE -----(a)-----> RUNNING ------(b)------> BLOCKING        a, b, c, d  the thread itself, by compare-and-swap
 *      ^                   | ^ ^                    | ^  |         e, f        the stopper
 *      |                  (g)| +-------(c)----------+ |  |         g           the thread, if ASKED: and tells the stopper
 *      |                   | |                       (f)(e)        h           the stopper, for a thread in the signal's handler
 *      |                   v |(h)                     | v
 *      +----(d, from BLOCKING)                      STOPPED
 *
 * HELD is set in BLOCKING and GONE by anyone, and taken away by who set it; a, c, d, e wait for that.
 */
#include "world/internal.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    ENDS_MAX =
        3, /* runs of the key's destructor, of the four rounds that libc makes: a thread does not register after, as
                     nothing would undo that */
    SPINS = 100,
};

struct ouroi_lock ouroi_registry_lock = OUROI_LOCK_INIT(OUROI_RANK_REGISTRY);
uint32_t ouroi_world_number_limit = OUROI_NUMBER_LAST;
struct ouroi_world_hooks ouroi_world_hooks;
__thread struct ouroi_thread *ouroi_thread_self __attribute__((tls_model("initial-exec")));
__thread struct ouro_self_ ouro_self_ __attribute__((tls_model("initial-exec"))) = { .number = OUROI_NUMBER_NONE };
__thread uint32_t ouroi_section_depth __attribute__((tls_model("initial-exec")));

static struct ouroi_thread *numbers[OUROI_NUMBER_LAST - OUROI_NUMBER_FIRST + 1];
static struct ouroi_thread *all_threads;
static struct ouroi_thread *gone_with_number, *gone_without;
static uint32_t next_number = OUROI_NUMBER_FIRST;
static uint32_t thread_count;
static uint64_t grace_epoch = 1;
static bool has_key;
static pthread_key_t key;
static uint32_t forking; /* a futex word: 1 while nobody may hold a thread */
static __thread bool is_forking;
static __thread unsigned ends;

struct ouroi_thread *ouroi_threads_first(void)
{
    /* [NUMBER list] seq_cst, pairs with [NUMBER add] and [GRACE enter]: who does not see a thread here is before it */
    return ouroi_atomic_load_seq_cst(&all_threads);
}

struct ouroi_thread *ouroi_thread_of(uint16_t number)
{
    if (number < OUROI_NUMBER_FIRST || number > OUROI_NUMBER_LAST)
        return NULL;
    /* [NUMBER look] acquire, pairs with [NUMBER give]: the struct as it was made */
    return ouroi_atomic_load_acquire(&numbers[number - OUROI_NUMBER_FIRST]);
}

void ouroi_thread_each(void (*fn)(struct ouroi_thread *thread, void *arg), void *arg)
{
    for (struct ouroi_thread *thread = ouroi_threads_first(); thread != NULL; thread = thread->next)
        fn(thread, arg);
}

size_t ouroi_thread_count(void)
{
    return ouroi_atomic_load_relaxed(&thread_count); /* relaxed: a count on its own */
}

unsigned ouroi_world_cpus(void)
{
    ouroi_heap_start();
    return ouroi_machine.cpus;
}

/* States. */

uint32_t ouroi_state_await_release(struct ouroi_thread *thread)
{
    /* relaxed: the compare-and-swap that follows decides */
    uint32_t state = ouroi_atomic_load_relaxed(&thread->state);
    for (unsigned spin = 0; (state & OUROI_HELD) != 0 && ouroi_machine.cpus > 1 && spin < SPINS; spin++) {
        ouroi_pause();
        state = ouroi_atomic_load_relaxed(&thread->state); /* relaxed: as above */
    }
    while ((state & OUROI_HELD) != 0) {
        /* relaxed: a mark for whoever releases it, in a word that is compared again */
        if ((state & OUROI_WAITED) != 0 || ouroi_atomic_cas_relaxed(&thread->state, &state, state | OUROI_WAITED))
            ouroi_os.futex_wait(&thread->state, state | OUROI_WAITED, 0);
        state = ouroi_atomic_load_relaxed(&thread->state); /* relaxed: as above */
    }
    return state;
}

void ouroi_state_leave(struct ouroi_thread *thread)
{
    for (;;) {
        uint32_t state = OUROI_RUNNING;
        /* [STATE leave] seq_cst, pairs with [STATE hold] and [STATE stop]: all that the thread did; after a request for it
         * that found it RUNNING, it finds the bit. model: count.block.2 stop.leave.1 */
        if (OUROI_LIKELY(ouroi_atomic_cas_seq_cst(&thread->state, &state, OUROI_BLOCKING)))
            return;
        OURO_ASSERT(state == (OUROI_RUNNING | OUROI_ASKED));
        /* [STATE answer] seq_cst, pairs with [STATE stop]. model: stop.leave.2 */
        if (ouroi_atomic_cas_seq_cst(&thread->state, &state, OUROI_STOPPED)) {
            ouroi_stop_report();
            return;
        }
    }
}

void ouroi_state_enter(struct ouroi_thread *thread)
{
    bool slept = false;
    for (;;) {
        uint32_t state = OUROI_BLOCKING;
        /* [STATE enter] seq_cst, pairs with [STATE release] and [STATE start]: what was done on the thread's behalf.
         * model: count.enter.1 stop.enter.1 */
        if (OUROI_LIKELY(ouroi_atomic_cas_seq_cst(&thread->state, &state, OUROI_RUNNING)))
            break;
        if ((state & OUROI_HELD) != 0) {
            ouroi_state_await_release(thread);
            continue;
        }
        OURO_ASSERT(state == OUROI_STOPPED);
        if (!slept)
            ouroi_sleep_begin(); /* model: stop.enter.2 */
        slept = true;
        ouroi_sleep_while_stopped(thread);
    }
    if (slept)
        ouroi_sleep_end();
    ouroi_grace_note(thread);
}

/* Leaves RUNNING for a blocking region or the end: with an empty merge queue, or such as others will see to. */
static void block(struct ouroi_thread *thread)
{
    for (;;) {
        /* [STATE request-taken] seq_cst, pairs with [STATE request]: what was queued before the bit.
         * model: count.block.1 */
        ouroi_atomic_fetch_and_seq_cst(&thread->self->request, ~(uint32_t)OUROI_REQUEST_MERGE);
        if (ouroi_world_hooks.blocking != NULL)
            ouroi_world_hooks.blocking(thread);
        /* relaxed: a look that spares a turn; the one below decides */
        if ((ouroi_atomic_load_relaxed(&thread->self->request) & OUROI_REQUEST_MERGE) != 0)
            continue;
        ouroi_state_leave(thread);
        /* [STATE request-seen] seq_cst, pairs with [STATE request]: whoever found this thread RUNNING is seen here, others
         * hold it. model: count.block.3 */
        if ((ouroi_atomic_load_seq_cst(&thread->self->request) & OUROI_REQUEST_MERGE) == 0)
            return;
        ouroi_state_enter(thread);
    }
}

/* For a thread that is not RUNNING. The next stopper lets it in first. */
static void acquire_registry(void)
{
    if (ouroi_lock_try(&ouroi_registry_lock))
        return;
    ouroi_sleep_begin();
    ouroi_lock_acquire(&ouroi_registry_lock);
    ouroi_sleep_end();
}

void ouroi_registry_acquire(void)
{
    struct ouroi_thread *thread = ouroi_thread_self;
    if (thread == NULL || thread->depth > 0) {
        acquire_registry();
    } else if (!ouroi_lock_try(&ouroi_registry_lock)) {
        ouroi_state_leave(thread);
        acquire_registry();
        ouroi_state_enter(thread); /* nobody stops the world while the lock is ours */
    }
}

/* Agents and requests. */

void ouroi_thread_release(struct ouroi_thread *thread)
{
    /* [STATE release] seq_cst, pairs with [STATE enter] and [STATE hold]: what was done on the thread's behalf */
    uint32_t state = ouroi_atomic_fetch_and_seq_cst(&thread->state, ~(uint32_t)(OUROI_HELD | OUROI_WAITED));
    OURO_ASSERT((state & OUROI_HELD) != 0);
    if ((state & OUROI_WAITED) != 0)
        ouroi_os.futex_wake(&thread->state, INT_MAX);
    ouroi_section_end();
}

bool ouroi_thread_hold(struct ouroi_thread *thread)
{
    for (;;) {
        ouroi_section_begin();
        /* [STATE look] seq_cst, pairs with [STATE leave]: after a request, either this finds BLOCKING or the thread finds
         * the request. model: count.hold.1 */
        uint32_t state = ouroi_atomic_load_seq_cst(&thread->state);
        if ((state & OUROI_HELD) != 0)
            state = ouroi_state_await_release(thread);
        if (state != OUROI_BLOCKING && state != OUROI_GONE) {
            ouroi_section_end();
            return false;
        }
        /* [STATE hold] seq_cst, pairs with [STATE leave] and [STATE release]: what the thread, and the last agent, did.
         * model: count.hold.2 */
        if (ouroi_atomic_cas_seq_cst(&thread->state, &state, state | OUROI_HELD)) {
            /* [FORK look] seq_cst, pairs with [FORK shut]: the forking thread sees HELD, or this sees that it forks */
            if (OUROI_LIKELY(ouroi_atomic_load_seq_cst(&forking) == 0) || is_forking)
                return true;
            ouroi_thread_release(thread);
            ouroi_os.futex_wait(&forking, 1, 0);
        } else {
            ouroi_section_end();
        }
    }
}

void ouroi_thread_request(struct ouroi_thread *thread, uint32_t bits)
{
    /* [PIN take] seq_cst, pairs with [PIN clear]: the thread that goes sees the pin, or this sees that it has gone */
    ouroi_atomic_fetch_add_seq_cst(&thread->pins, 1);
    /* [PIN look] seq_cst, pairs with [PIN clear] and [PIN set] */
    struct ouro_self_ *self = ouroi_atomic_load_seq_cst(&thread->self);
    if (self != NULL)
        /* [STATE request] seq_cst, pairs with [STATE request-seen], [STATE request-taken]: what was queued */
        ouroi_atomic_fetch_or_seq_cst(&self->request, bits);
    /* [PIN drop] seq_cst, pairs with [PIN wait]: the words are not looked at any more */
    ouroi_atomic_fetch_sub_seq_cst(&thread->pins, 1);
}

/* Grace periods. */

void ouroi_grace_note(struct ouroi_thread *thread)
{
    /* [GRACE enter] seq_cst, pairs with [GRACE begin]: in the order of all such operations this comes after the state is
     * RUNNING: a caller of ouroi_grace_passed who found it otherwise has its epoch, and what it unlinked, seen here. model: grace.note.1 */
    uint64_t epoch = ouroi_atomic_load_seq_cst(&grace_epoch);
    /* [GRACE note] release, pairs with [GRACE look]: the thread's reads before. model: grace.note.2 */
    ouroi_atomic_store_release(&thread->grace, epoch);
}

uint64_t ouroi_grace_begin(void)
{
    /* [GRACE begin] seq_cst, pairs with [GRACE enter]: what the caller unlinked. model: grace.begin.1 */
    uint64_t epoch = ouroi_atomic_fetch_add_seq_cst(&grace_epoch, 1) + 1;
    for (struct ouroi_thread *thread = ouroi_threads_first(); thread != NULL; thread = thread->next) {
        /* [STATE grace] seq_cst, pairs with [STATE leave]: who is not running notes the epoch when it enters.
         * model: grace.begin.2 */
        uint32_t state = ouroi_atomic_load_seq_cst(&thread->state);
        if ((state & OUROI_STATE_MASK) == OUROI_RUNNING)
            ouroi_thread_request(thread, OUROI_REQUEST_GRACE);
    }
    return epoch;
}

bool ouroi_grace_passed(uint64_t epoch)
{
    for (struct ouroi_thread *thread = ouroi_threads_first(); thread != NULL; thread = thread->next) {
        /* [STATE grace] seq_cst, pairs with [STATE leave]: its reads before it left. model: grace.pass.1 */
        uint32_t state = ouroi_atomic_load_seq_cst(&thread->state);
        /* Who was stopped by the signal may be between a look at a slot and its look at the object, and may go on at any
         * moment: so nobody passes by being STOPPED. */
        bool is_away = (state & OUROI_STATE_MASK) == OUROI_BLOCKING || (state & OUROI_STATE_MASK) == OUROI_GONE;
        /* [GRACE look] acquire, pairs with [GRACE note]: its reads before it noted the epoch. model: grace.pass.2 */
        if (!is_away && ouroi_atomic_load_acquire(&thread->grace) < epoch)
            return false;
    }
    return true;
}

/* Safepoints and blocking regions. */

void ouro_safepoint_slow_(void)
{
    struct ouroi_thread *thread = ouroi_thread_self;
    if (thread == NULL || thread->depth > 0 || ouroi_world_is_stopped())
        return;
    int saved = errno;
    /* [STATE request-taken] seq_cst, pairs with [STATE request]: what was queued before the bits */
    uint32_t bits = ouroi_atomic_fetch_and_seq_cst(&ouro_self_.request, OUROI_REQUEST_STOP);
    ouroi_grace_note(thread);
    uint32_t others = bits & ~(uint32_t)OUROI_REQUEST_STOP;
    if (others != 0 && ouroi_world_hooks.safepoint != NULL)
        ouroi_world_hooks.safepoint(thread, others);
    /* relaxed: only the thread itself takes RUNNING away; ASKED is for ouroi_state_leave to look at */
    if (ouroi_atomic_load_relaxed(&thread->state) == (OUROI_RUNNING | OUROI_ASKED)) {
        ouroi_state_leave(thread);
        ouroi_state_enter(thread);
    }
    errno = saved;
}

void ouro_blocking_begin(void)
{
    int saved = errno;
    struct ouroi_thread *thread = ouroi_thread_get();
    if (thread != NULL) {
        OURO_CHECK(!ouroi_world_is_stopped());
        if (thread->depth++ == 0) {
            ouroi_grace_note(thread);
            block(thread);
        }
    }
    errno = saved;
}

void ouro_blocking_end(void)
{
    struct ouroi_thread *thread = ouroi_thread_self;
    if (thread == NULL || thread->depth == 0)
        return;
    int saved = errno;
    if (thread->depth == 1)
        ouroi_state_enter(thread);
    thread->depth--;
    errno = saved;
}

/* Registration. */

static void read_environment(void)
{
    const char *value = ouroi_os_getenv("OURO_STW_WARN_MS");
    if (value != NULL) {
        uint64_t ms = 0;
        const char *at = value;
        for (; *at >= '0' && *at <= '9' && ms < UINT64_MAX / 100000000; at++)
            ms = ms * 10 + (uint64_t)(*at - '0');
        if (at == value || *at != '\0' || ms > UINT64_MAX / 10000000)
            ouroi_warn("OURO_STW_WARN_MS=%s is no number of milliseconds; ignored", value);
        else
            ouroi_stop_warn_ns = ms * 1000000;
    }
    ouroi_signal_init();
}

static void thread_ends(void *unused)
{
    (void)unused;
    ends++;
    ouro_thread_unregister();
}

/* What is done once. */
static int start_locked(void)
{
    static bool has_read;
    if (!has_read) {
        has_read = true;
        read_environment();
    }
    has_key = has_key || pthread_key_create(&key, thread_ends) == 0;
    return has_key ? 0 : -ENOMEM;
}

static struct ouroi_thread *new_struct_locked(bool with_number)
{
    struct ouroi_thread *thread = ouroi_meta_alloc(sizeof *thread);
    if (thread == NULL)
        return NULL;
    thread->number = OUROI_NUMBER_NONE;
    if (with_number) {
        thread->number = (uint16_t)next_number++;
        /* [NUMBER give] release, pairs with [NUMBER look] */
        ouroi_atomic_store_release(&numbers[thread->number - OUROI_NUMBER_FIRST], thread);
    }
    return thread;
}

/* A number, that of the thread that went last if there is one, else a new one; or none when all are taken. */
static struct ouroi_thread *take_struct_locked(void)
{
    struct ouroi_thread **gone = &gone_with_number;
    bool numbers_left = next_number <= ouroi_world_number_limit;
    if (*gone == NULL && !numbers_left)
        gone = &gone_without;
    struct ouroi_thread *thread = *gone;
    if (thread == NULL)
        return new_struct_locked(numbers_left);
    *gone = thread->next_gone;
    return thread;
}

static void put_struct_locked(struct ouroi_thread *thread)
{
    struct ouroi_thread **gone = thread->number == OUROI_NUMBER_NONE ? &gone_without : &gone_with_number;
    thread->next_gone = *gone;
    *gone = thread;
}

/* The calling thread has the struct no longer; BLOCKING before, GONE after. */
static void leave_struct_locked(struct ouroi_thread *thread)
{
    /* [PIN clear] seq_cst, pairs with [PIN take] and [PIN look] */
    ouroi_atomic_store_seq_cst(&thread->self, NULL);
    /* [PIN wait] seq_cst, pairs with [PIN drop] */
    while (ouroi_atomic_load_seq_cst(&thread->pins) != 0)
        sched_yield();
    ouro_self_ = (struct ouro_self_){ .number = OUROI_NUMBER_NONE };
    ouroi_thread_self = NULL;
    for (;;) {
        uint32_t state = OUROI_BLOCKING;
        /* [STATE go] seq_cst, pairs with [STATE hold] and [STATE come]: all that the thread did */
        if (ouroi_atomic_cas_seq_cst(&thread->state, &state, OUROI_GONE))
            break;
        OURO_ASSERT((state & OUROI_HELD) != 0);
        ouroi_state_await_release(thread);
    }
    put_struct_locked(thread);
}

static void enter_struct_locked(struct ouroi_thread *thread)
{
    thread->tid = (int)syscall(SYS_gettid);
    prctl(PR_GET_NAME, thread->name, 0, 0, 0);
    thread->pthread = (uintptr_t)pthread_self();
    thread->depth = 0;
    OUROI_OWNED_SET(&thread->by_signal, false);
    ouro_self_ = (struct ouro_self_){ .number = thread->number, .registered = 1 };
    ouroi_thread_self = thread;
    /* [PIN set] seq_cst, pairs with [PIN look]: the words as they begin */
    ouroi_atomic_store_seq_cst(&thread->self, &ouro_self_);
    for (;;) {
        uint32_t state = OUROI_GONE;
        /* [STATE come] seq_cst, pairs with [STATE go] and [STATE release]: what the number's last agent did */
        if (ouroi_atomic_cas_seq_cst(&thread->state, &state, OUROI_RUNNING))
            break;
        ouroi_state_await_release(thread);
    }
    ouroi_grace_note(thread);
}

static int attach_locked(struct ouroi_thread *thread)
{
    enter_struct_locked(thread);
    int rc = ouroi_world_hooks.attach != NULL ? ouroi_world_hooks.attach(thread) : 0;
    if (rc != 0) {
        ouroi_state_leave(thread);
        leave_struct_locked(thread);
        return rc;
    }
    if (!thread->listed) {
        thread->listed = true;
        thread->next = all_threads;
        /* [NUMBER add] seq_cst, pairs with [NUMBER list]. model: grace.join.1 */
        ouroi_atomic_store_seq_cst(&all_threads, thread);
        ouroi_grace_note(thread); /* again: now it is one that ouroi_grace_begin sees. model: grace.join.2 */
    }
    ouroi_atomic_fetch_add_relaxed(&thread_count, 1); /* relaxed: a count on its own */
    return 0;
}

static OUROI_COLD struct ouroi_thread *register_self(void)
{
    if (ends >= ENDS_MAX || ouroi_heap_start() != 0)
        return NULL;
    int saved = errno;
    struct ouroi_thread *thread = NULL;
    acquire_registry();
    int rc = start_locked();
    ouroi_lock_release(&ouroi_registry_lock);
    /* Before, so that a failure undoes nothing; libc may allocate for it. */
    if (rc == 0 && pthread_setspecific(key, &ouro_self_) == 0) {
        acquire_registry(); /* model: stop.come.1 */
        thread = take_struct_locked();
        if (thread != NULL && attach_locked(thread) != 0)
            thread = NULL;
        ouroi_lock_release(&ouroi_registry_lock);
        if (thread == NULL)
            pthread_setspecific(key, NULL);
    }
    errno = saved;
    return thread;
}

struct ouroi_thread *ouroi_thread_get(void)
{
    struct ouroi_thread *thread = ouroi_thread_self;
    return OUROI_LIKELY(thread != NULL) ? thread : register_self();
}

int ouro_thread_register(void)
{
    if (ouroi_thread_get() != NULL)
        return 0;
    errno = ENOMEM;
    return -1;
}

void ouro_thread_unregister(void)
{
    struct ouroi_thread *thread = ouroi_thread_self;
    if (thread == NULL)
        return;
    OURO_CHECK(!ouroi_world_is_stopped());
    int saved = errno;
    if (thread->depth > 0) {
        thread->depth = 1;
        ouro_blocking_end();
    }
    if (ouroi_world_hooks.blocking != NULL)
        ouroi_world_hooks.blocking(thread);
    if (ouroi_world_hooks.detach != NULL)
        ouroi_world_hooks.detach(thread);
    block(thread);
    acquire_registry(); /* the world runs now. model: stop.go.1 */
    leave_struct_locked(thread);
    ouroi_atomic_fetch_sub_relaxed(&thread_count, 1); /* relaxed: a count on its own */
    ouroi_lock_release(&ouroi_registry_lock);
    pthread_setspecific(key, NULL);
    errno = saved;
}

bool ouro_thread_is_registered(void)
{
    return ouroi_thread_self != NULL;
}

/* fork. The forking thread has the turn to stop the world and registry_lock, and nobody holds a thread: what other threads
 * own is whole, but for a count that its owner is in the middle of, which then has not happened. */

static void before_fork(void)
{
    struct ouroi_thread *thread = ouroi_thread_self;
    bool running = thread != NULL && thread->depth == 0;
    if (ouroi_world_is_stopped())
        return; /* has both */
    uint32_t ticket = ouroi_turn_ask();
    if (running)
        ouroi_state_leave(thread);
    ouroi_turn_take(ticket);
    ouroi_lock_acquire(&ouroi_registry_lock);
    if (running)
        ouroi_state_enter(thread);
    is_forking = true;
    /* [FORK shut] seq_cst, pairs with [FORK look] */
    ouroi_atomic_store_seq_cst(&forking, 1);
    for (struct ouroi_thread *other = ouroi_threads_first(); other != NULL; other = other->next)
        /* [FORK drain] seq_cst, pairs with [STATE hold]: in the order of all such operations this is after `forking` */
        if ((ouroi_atomic_load_seq_cst(&other->state) & OUROI_HELD) != 0)
            ouroi_state_await_release(other);
    ouroi_workers_fork_prepare();
    if (ouroi_world_hooks.fork_prepare != NULL)
        ouroi_world_hooks.fork_prepare();
}

static void open_again(void)
{
    is_forking = false;
    ouroi_atomic_store_seq_cst(&forking, 0); /* [FORK open] seq_cst, pairs with [FORK look] */
    ouroi_os.futex_wake(&forking, INT_MAX);
}

static void after_fork_parent(void)
{
    if (ouroi_world_is_stopped())
        return;
    if (ouroi_world_hooks.fork_parent != NULL)
        ouroi_world_hooks.fork_parent();
    ouroi_workers_fork_done(false);
    open_again();
    ouroi_lock_release(&ouroi_registry_lock);
    ouroi_turn_give();
}

/* In the child: all threads but this one are gone. */
static void forget_others(struct ouroi_thread *self)
{
    gone_with_number = gone_without = NULL;
    for (struct ouroi_thread *thread = all_threads; thread != NULL; thread = thread->next) {
        if (thread == self)
            continue;
        thread->self = NULL;
        thread->by_signal = false;
        ouroi_atomic_store_relaxed(&thread->pins, 0);           /* relaxed: one thread */
        ouroi_atomic_store_relaxed(&thread->state, OUROI_GONE); /* relaxed: one thread */
        put_struct_locked(thread);
    }
    ouroi_atomic_store_relaxed(&thread_count, self != NULL); /* relaxed: one thread */
    if (self != NULL) {
        ouroi_atomic_store_relaxed(&self->pins, 0); /* relaxed: one thread */
        self->tid = (int)syscall(SYS_gettid);
    }
}

static void after_fork_child(void)
{
    struct ouroi_thread *self = ouroi_thread_self;
    bool is_stopper = ouroi_world_is_stopped(); /* its locks stay held */
    ouroi_locks_held = is_stopper ? ouroi_locks_held : 0;
    forget_others(self);
    ouroi_stop_fork_child();
    ouroi_workers_fork_done(true);
    if (ouroi_world_hooks.fork_child != NULL)
        ouroi_world_hooks.fork_child(self);
    open_again();
    if (!is_stopper)
        ouroi_lock_reset(&ouroi_registry_lock);
}

/* After the allocator's: fork runs the handlers for before it in reverse order, so that ours take their locks first. */
__attribute__((constructor(102))) static void world_starts(void)
{
    if (ouroi_heap_start() != 0)
        return;
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
    ouroi_lock_acquire(&ouroi_registry_lock);
    start_locked();
    ouroi_lock_release(&ouroi_registry_lock);
}
