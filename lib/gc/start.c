/* gc/start.c: the collector is hooked in; fork.
 *
 * Sync        before a fork this layer's locks are taken, before those of the layers below. The child goes on with the forking
 *             thread's collection, if it is inside one.
 */
#include "gc/internal.h"

static struct ouroi_world_hooks below;

static void fork_prepare(void)
{
    ouroi_settings_fork_prepare();
    ouroi_finalizers_fork_prepare();
    ouroi_gather_fork_prepare();
    if (below.fork_prepare != NULL)
        below.fork_prepare();
}

static void fork_parent(void)
{
    if (below.fork_parent != NULL)
        below.fork_parent();
    ouroi_gather_fork_done(false);
    ouroi_finalizers_fork_done(false);
    ouroi_settings_fork_done(false);
}

static void fork_child(struct ouroi_thread *thread)
{
    if (below.fork_child != NULL)
        below.fork_child(thread);
    ouroi_gather_fork_done(true);
    ouroi_finalizers_fork_done(true);
    ouroi_settings_fork_done(true);
    ouroi_collect_fork_child(thread);
}

static unsigned (*check_more)(void);

static unsigned check_all(void)
{
    return ouroi_gc_check() + (check_more != NULL ? check_more() : 0);
}

/* Constructors of the program run after this one, that of the layer below (103) before. */
__attribute__((constructor(104))) static void gc_starts(void)
{
    check_more = ouroi_object_check_more;
    ouroi_object_check_more = check_all;
    below = ouroi_world_hooks;
    ouroi_world_hooks.fork_prepare = fork_prepare;
    ouroi_world_hooks.fork_parent = fork_parent;
    ouroi_world_hooks.fork_child = fork_child;
    ouroi_policy_start();
    ouroi_figures_start();
    ouroi_settings_read();
}
