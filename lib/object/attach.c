/* object/attach.c: what this layer does as threads come, go, block, pass safepoints and fork.
 *
 * Invariants  struct ouroi_object_thread stays with its number: what others still queue for it is not lost.
 */
#include <errno.h>

#include "object/internal.h"

__thread struct ouroi_object_thread *ouroi_object_self __attribute__((tls_model("initial-exec")));

static int attach(struct ouroi_thread *thread)
{
    if (thread->object == NULL) {
        struct ouroi_object_thread *fresh = ouroi_meta_alloc(sizeof *fresh);
        if (fresh == NULL)
            return -ENOMEM;
        fresh->lock = (struct ouroi_lock)OUROI_LOCK_INIT(OUROI_RANK_QUEUE);
        OUROI_OWNED_SET(&thread->object, (void *)fresh);
    }
    int rc = ouroi_nodes_attach();
    if (rc != 0)
        return rc;
    struct ouroi_object_thread *self = ouroi_object_thread(thread);
    OUROI_OWNED_SET(&self->allowance, 0); /* the first tracked object asks */
    OUROI_OWNED_SET(&self->granted, 0);
    thread->nodes = ouroi_nodes_self;
    ouroi_object_self = self;
    ouro_self_.counts = self->counts != NULL ? self->counts->at : NULL;
    ouro_self_.room = self->counts != NULL ? (uint32_t)self->counts->room : 0;
    if (ouroi_object_has_orphans())
        ouroi_thread_request(thread, OUROI_REQUEST_OTHER); /* for its first safepoint */
    return 0;
}

static void drain_all(struct ouroi_thread *thread)
{
    ouroi_object_merge_queue(thread);
    ouroi_object_drain(thread);
    ouroi_limbo_look(ouroi_object_self);
}

static void detach(struct ouroi_thread *thread)
{
    drain_all(thread);
    ouroi_limbo_leave(ouroi_object_self);
    ouro_self_.room = 0;
    ouroi_distributed_leave(ouroi_object_self);
    ouroi_nodes_detach();
    thread->nodes = NULL;
}

static void blocking(struct ouroi_thread *thread)
{
    if (thread->nodes != NULL) {
        drain_all(thread);
    } else { /* its end: what was queued since it was detached */
        ouroi_object_merge_queue(thread);
        ouroi_object_leave_dying(ouroi_object_self);
    }
}

static void safepoint(struct ouroi_thread *thread, uint32_t requests)
{
    (void)requests;
    drain_all(thread);
}

static void lock_queue(struct ouroi_thread *thread, void *arg)
{
    (void)arg;
    if (thread->object != NULL)
        ouroi_lock_acquire_again(&ouroi_object_thread(thread)->lock);
}

static void unlock_queue(struct ouroi_thread *thread, void *arg)
{
    if (thread->object == NULL)
        return;
    if (*(bool *)arg)
        ouroi_lock_reset(&ouroi_object_thread(thread)->lock);
    else
        ouroi_lock_release(&ouroi_object_thread(thread)->lock);
}

static void fork_prepare(void)
{
    ouroi_types_fork_prepare();
    ouroi_thread_each(lock_queue, NULL);
}

static void fork_done(bool child)
{
    ouroi_thread_each(unlock_queue, &child);
    ouroi_types_fork_done(child);
}

static void fork_parent(void)
{
    fork_done(false);
}

static void fork_child(struct ouroi_thread *thread)
{
    (void)thread;
    fork_done(true);
}

__attribute__((constructor(102))) static void object_starts(void)
{
    ouroi_heap_check_hook = ouroi_object_check_stopped;
    ouroi_world_hooks.attach = attach;
    ouroi_world_hooks.detach = detach;
    ouroi_world_hooks.blocking = blocking;
    ouroi_world_hooks.safepoint = safepoint;
    ouroi_world_hooks.fork_prepare = fork_prepare;
    ouroi_world_hooks.fork_parent = fork_parent;
    ouroi_world_hooks.fork_child = fork_child;
}
