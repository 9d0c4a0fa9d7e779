/* gc/finalizers.c: the thread that runs finalizers and weak references' callbacks, if the program wants one.
 *
 * Owns        the thread, made when it is first asked for, and never ended; what it has yet to do.
 * Invariants  a reference is held to each object that waits for its finalizer.
 * Sync        queue_lock. The thread sleeps on `work`, in a blocking region.
 */
#include "gc/internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

struct batch {
    struct ouroi_weak_batch weak;
    struct batch *next;
};

static struct ouroi_lock queue_lock = OUROI_LOCK_INIT(OUROI_RANK_GC);
static bool wanted, made;
static struct ouroi_list waiting;
static struct batch *first_batch, **last_batch = &first_batch;
static uint32_t work; /* goes up with each addition */

static void run_objects(void)
{
    for (;;) {
        ouroi_lock_acquire(&queue_lock);
        struct ouroi_list mine = waiting;
        waiting = (struct ouroi_list){ 0 };
        ouroi_lock_release(&queue_lock);
        if (mine.count == 0) {
            ouroi_list_free(&mine);
            return;
        }
        for (size_t i = 0; i < mine.count; i++) {
            ouroi_object_finalize(mine.items[i]);
            ouro_decref(mine.items[i]);
        }
        ouroi_list_free(&mine);
    }
}

static bool run_batch(void)
{
    ouroi_lock_acquire(&queue_lock);
    struct batch *batch = first_batch;
    if (batch != NULL) {
        first_batch = batch->next;
        if (first_batch == NULL)
            last_batch = &first_batch;
    }
    ouroi_lock_release(&queue_lock);
    if (batch == NULL)
        return false;
    ouroi_weak_call(&batch->weak);
    ouroi_weak_drop(&batch->weak, NULL, NULL);
    ouro_free(batch);
    return true;
}

static void *thread_main(void *arg)
{
    (void)arg;
    pthread_setname_np(pthread_self(), "ouro-finalizer");
    if (ouro_thread_register() != 0)
        return NULL; /* what it was to do waits for the next thread */
    ouroi_gc_set_inside(true);
    for (;;) {
        /* [FINALIZE take] acquire, pairs with [FINALIZE add]: a look before, so that no addition is slept through */
        uint32_t seen = ouroi_atomic_load_acquire(&work);
        run_objects();
        while (run_batch())
            ouro_safepoint();
        ouro_blocking_begin();
        ouroi_os.futex_wait(&work, seen, 0);
        ouro_blocking_end();
    }
    return NULL;
}

static int make_thread(void)
{
    pthread_t thread;
    sigset_t all, mask;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    int error = pthread_create(&thread, NULL, thread_main, NULL);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (error == 0)
        pthread_detach(thread);
    return error;
}

static void wake(void)
{
    /* [FINALIZE add] release, pairs with [FINALIZE take] */
    ouroi_atomic_store_release(&work, ouroi_atomic_load_relaxed(&work) + 1); /* relaxed: under the turn to collect */
    ouroi_os.futex_wake(&work, 1);
}

int ouro_gc_set_finalizer_thread(bool on)
{
    int error = 0;
    ouroi_lock_acquire(&queue_lock);
    if (on && !made) {
        error = make_thread();
        made = error == 0;
    }
    if (error == 0)
        wanted = on;
    ouroi_lock_release(&queue_lock);
    if (error != 0)
        errno = error;
    return error == 0 ? 0 : -1;
}

void ouroi_finalizers_revive(void)
{
    ouroi_lock_acquire(&queue_lock);
    if (wanted && !made)
        made = wanted = make_thread() == 0;
    ouroi_lock_release(&queue_lock);
}

bool ouroi_finalizers_have_thread(void)
{
    ouroi_lock_acquire(&queue_lock);
    bool have = wanted && made;
    ouroi_lock_release(&queue_lock);
    return have;
}

void ouroi_finalizers_waiting(size_t *objects, size_t *batches)
{
    ouroi_lock_acquire(&queue_lock);
    *objects = waiting.count;
    *batches = 0;
    for (const struct batch *batch = first_batch; batch != NULL; batch = batch->next)
        ++*batches;
    ouroi_lock_release(&queue_lock);
}

bool ouroi_finalizers_room(size_t count)
{
    ouroi_lock_acquire(&queue_lock);
    int rc = ouroi_list_grow(&waiting, waiting.count + count);
    ouroi_lock_release(&queue_lock);
    return rc == 0;
}

void ouroi_finalizers_add(const struct ouroi_list *objects)
{
    ouroi_lock_acquire(&queue_lock);
    for (size_t i = 0; i < objects->count; i++)
        (void)ouroi_list_push(&waiting, objects->items[i]); /* there is room */
    ouroi_lock_release(&queue_lock);
    wake();
}

bool ouroi_finalizers_take_weak(struct ouroi_weak_batch *weak)
{
    if (!ouroi_finalizers_have_thread())
        return false;
    struct batch *batch = ouro_calloc(1, sizeof *batch);
    if (batch == NULL)
        return false; /* better here than never */
    ouroi_weak_split(weak, &batch->weak);
    ouroi_lock_acquire(&queue_lock);
    *last_batch = batch;
    last_batch = &batch->next;
    ouroi_lock_release(&queue_lock);
    wake();
    return true;
}

void ouroi_finalizers_fork_prepare(void)
{
    ouroi_lock_acquire_again(&queue_lock);
}

/* The child has no such thread; the next collection makes it anew. */
void ouroi_finalizers_fork_done(bool child)
{
    if (!child) {
        ouroi_lock_release(&queue_lock);
        return;
    }
    ouroi_lock_reset(&queue_lock);
    made = false;
}
