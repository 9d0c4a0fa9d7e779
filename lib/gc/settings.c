/* gc/settings.c: what the program and the environment ask of the collector, and what it tells them.
 *
 * Owns        the program's callbacks; debug flags; the garbage list; statistics; workers to use.
 * Invariants  the garbage list holds a reference to each of its objects.
 * Sync        gc_lock, under which nothing of the program runs and nothing is freed.
 */
#include "gc/internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

enum { WORKERS_MAX = 1024, DEBUG_ALL = 1 | 2 | 4 | 32 };

struct callback {
    ouro_gc_callback call;
    void *arg;
};

static struct ouroi_lock gc_lock = OUROI_LOCK_INIT(OUROI_RANK_GC);
static struct callback *callbacks;
static size_t callback_count, callback_room;
static struct ouroi_list garbage;
ouro_gc_stats ouroi_gc_totals[OURO_GC_GENERATIONS];
static struct ouroi_gc_counts counts;
static unsigned debug_flags, workers_asked;

int ouro_gc_callback_add(ouro_gc_callback callback, void *arg)
{
    int error = callback == NULL ? EINVAL : 0;
    ouroi_lock_acquire(&gc_lock);
    if (error == 0 && callback_count == callback_room) {
        void *items = callbacks;
        if (ouroi_memory_grow(&items, &callback_room, callback_count, callback_count + 1, sizeof *callbacks) != 0)
            error = ENOMEM;
        callbacks = items;
    }
    if (error == 0)
        callbacks[callback_count++] = (struct callback){ callback, arg };
    ouroi_lock_release(&gc_lock);
    if (error != 0)
        errno = error;
    return error == 0 ? 0 : -1;
}

int ouro_gc_callback_remove(ouro_gc_callback callback, void *arg)
{
    bool found = false;
    ouroi_lock_acquire(&gc_lock);
    for (size_t i = 0; i < callback_count && !found; i++) {
        found = callbacks[i].call == callback && callbacks[i].arg == arg;
        if (found)
            memmove(&callbacks[i], &callbacks[i + 1], (--callback_count - i) * sizeof *callbacks);
    }
    ouroi_lock_release(&gc_lock);
    if (!found)
        errno = ENOENT;
    return found ? 0 : -1;
}

/* One that is removed meanwhile may be called once more, and one that moves up for it not. */
void ouroi_callbacks_call(ouro_gc_phase phase, const ouro_gc_info *info)
{
    for (size_t i = 0;; i++) {
        struct callback next = { NULL, NULL };
        ouroi_lock_acquire(&gc_lock);
        if (i < callback_count)
            next = callbacks[i];
        ouroi_lock_release(&gc_lock);
        if (next.call == NULL)
            return;
        next.call(phase, info, next.arg);
    }
}

/* Garbage. */

size_t ouro_gc_garbage_count(void)
{
    ouroi_lock_acquire(&gc_lock);
    size_t count = garbage.count;
    ouroi_lock_release(&gc_lock);
    return count;
}

void *ouro_gc_garbage_get(size_t index)
{
    void *obj = NULL;
    ouroi_lock_acquire(&gc_lock);
    if (index < garbage.count)
        obj = ouro_newref(garbage.items[index]);
    ouroi_lock_release(&gc_lock);
    if (obj == NULL)
        errno = EINVAL;
    return obj;
}

void ouro_gc_garbage_clear(void)
{
    ouroi_lock_acquire(&gc_lock);
    struct ouroi_list old = garbage;
    garbage = (struct ouroi_list){ 0 };
    ouroi_lock_release(&gc_lock);
    for (size_t i = 0; i < old.count; i++)
        ouro_decref(old.items[i]);
    ouroi_list_free(&old);
}

bool ouroi_garbage_room(size_t count)
{
    ouroi_lock_acquire(&gc_lock);
    int rc = count == 0 ? 0 : ouroi_list_grow(&garbage, garbage.count + count);
    ouroi_lock_release(&gc_lock);
    return rc == 0;
}

void ouroi_garbage_add(const struct ouroi_list *objects)
{
    ouroi_lock_acquire(&gc_lock);
    for (size_t i = 0; i < objects->count; i++) {
        ouro_incref(objects->items[i]);
        (void)ouroi_list_push(&garbage, objects->items[i]); /* there is room */
    }
    ouroi_lock_release(&gc_lock);
}

/* Statistics. */

void ouro_gc_get_stats(ouro_gc_stats out[OURO_GC_GENERATIONS])
{
    ouroi_lock_acquire(&gc_lock);
    memcpy(out, ouroi_gc_totals, sizeof ouroi_gc_totals);
    ouroi_lock_release(&gc_lock);
}

void ouroi_gc_count(struct ouroi_gc_counts *out)
{
    ouroi_lock_acquire(&gc_lock);
    *out = counts;
    ouroi_lock_release(&gc_lock);
}

void ouroi_stats_add(const struct ouroi_cycle *cycle, const struct ouroi_search *search, int rc)
{
    ouroi_lock_acquire(&gc_lock);
    ouro_gc_stats *to = &ouroi_gc_totals[cycle->info.generation];
    to->collections += rc == 0;
    to->collected += cycle->info.collected;
    to->uncollectable += cycle->info.uncollectable;
    to->pause_ns_total += cycle->info.pause_ns;
    to->pause_ns_max = cycle->longest_ns > to->pause_ns_max ? cycle->longest_ns : to->pause_ns_max;
    counts.near += search->near;
    counts.far += search->far;
    counts.hinted += search->hinted;
    counts.misled += search->misled;
    counts.abandoned += rc != 0;
    ouroi_lock_release(&gc_lock);
}

/* Workers. */

int ouro_gc_set_workers(unsigned workers)
{
    if (workers > WORKERS_MAX) {
        errno = EINVAL;
        return -1;
    }
    ouroi_atomic_store_relaxed(&workers_asked, workers); /* relaxed: a setting */
    return 0;
}

unsigned ouro_gc_get_workers(void)
{
    unsigned workers = ouroi_atomic_load_relaxed(&workers_asked); /* relaxed: a setting */
    return workers != 0 ? workers : ouroi_world_cpus();
}

/* Debugging. */

void ouro_gc_set_debug(unsigned flags)
{
    ouroi_atomic_store_relaxed(&debug_flags, flags); /* relaxed: a setting */
}

unsigned ouro_gc_get_debug(void)
{
    return ouroi_gc_debug();
}

unsigned ouroi_gc_debug(void)
{
    return ouroi_atomic_load_relaxed(&debug_flags); /* relaxed: a setting */
}

void ouroi_report_begin(const ouro_gc_info *info)
{
    if ((ouroi_gc_debug() & OURO_GC_DEBUG_STATS) == 0)
        return;
    size_t count[OURO_GC_GENERATIONS];
    ouro_gc_get_count(count);
    ouroi_warn("gc: collecting generation %d; counts %zu, %zu, %zu", info->generation, count[0], count[1], count[2]);
}

static void report_objects(const struct ouroi_list *objects, const char *what)
{
    for (size_t i = 0; i < objects->count; i++)
        ouroi_warn("gc: %s <%s %p>", what, ouroi_type_name(ouroi_type_of(objects->items[i])), objects->items[i]);
}

void ouroi_report_dead(const struct ouroi_search *search, const struct ouroi_list *uncollectable)
{
    unsigned flags = ouroi_gc_debug();
    if ((flags & OURO_GC_DEBUG_COLLECTABLE) != 0)
        report_objects(&search->dead, "collectable");
    if ((flags & OURO_GC_DEBUG_UNCOLLECTABLE) != 0)
        report_objects(uncollectable, "uncollectable");
}

void ouroi_report_end(const ouro_gc_info *info)
{
    if ((ouroi_gc_debug() & OURO_GC_DEBUG_STATS) != 0)
        ouroi_warn("gc: done, %zu looked at, %zu unreachable, %zu uncollectable, paused for %zu us, %u workers",
                   info->candidates, (size_t)(info->collected + info->uncollectable), (size_t)info->uncollectable,
                   (size_t)(info->pause_ns / 1000), info->workers);
}

/* The environment. */

static void complain(const char *name, const char *value)
{
    ouroi_warn("%s=%s: not understood, ignored", name, value);
}

static bool read_number(const char **text, unsigned long most, unsigned long *out)
{
    unsigned long value = 0;
    if (**text < '0' || **text > '9')
        return false;
    for (; **text >= '0' && **text <= '9'; (*text)++) {
        value = value * 10 + (unsigned long)(**text - '0');
        if (value > most)
            return false;
    }
    *out = value;
    return true;
}

static void read_workers(const char *text)
{
    unsigned long workers;
    const char *at = text;
    if (!read_number(&at, WORKERS_MAX, &workers) || *at != '\0')
        complain("OURO_GC_WORKERS", text);
    else
        workers_asked = (unsigned)workers;
}

/* One to three numbers; what is missing is as it is. */
static void read_threshold(const char *text)
{
    size_t threshold[OURO_GC_GENERATIONS];
    const char *at = text;
    ouro_gc_get_threshold(threshold);
    for (unsigned i = 0; i < OURO_GC_GENERATIONS; i++) {
        unsigned long value;
        if (!read_number(&at, LONG_MAX / 2, &value) || (*at != '\0' && *at != ',')) {
            complain("OURO_GC_THRESHOLD", text);
            return;
        }
        threshold[i] = value;
        if (*at == '\0')
            break;
        at++;
    }
    if (*at != '\0') {
        complain("OURO_GC_THRESHOLD", text);
        return;
    }
    ouro_gc_set_threshold(threshold);
}

/* A number, or names with commas. */
static void read_debug(const char *text)
{
    static const struct {
        const char *name;
        unsigned flag;
    } names[] = { { "stats", OURO_GC_DEBUG_STATS },
                  { "collectable", OURO_GC_DEBUG_COLLECTABLE },
                  { "uncollectable", OURO_GC_DEBUG_UNCOLLECTABLE },
                  { "saveall", OURO_GC_DEBUG_SAVEALL },
                  { "leak", OURO_GC_DEBUG_LEAK } };
    unsigned long number;
    unsigned flags = 0;
    const char *at = text;
    if (read_number(&at, DEBUG_ALL, &number) && *at == '\0' && (number & ~(unsigned long)DEBUG_ALL) == 0) {
        debug_flags = (unsigned)number;
        return;
    }
    for (at = text; *at != '\0';) {
        size_t length = strcspn(at, ","), i = 0;
        while (i < sizeof names / sizeof names[0] &&
               (strlen(names[i].name) != length || strncmp(names[i].name, at, length) != 0))
            i++;
        if (i == sizeof names / sizeof names[0]) {
            complain("OURO_GC_DEBUG", text);
            return;
        }
        flags |= names[i].flag;
        at += length + (at[length] == ',');
    }
    debug_flags = flags;
}

void ouroi_settings_read(void)
{
    const char *text;
    if ((text = ouroi_os_getenv("OURO_GC_WORKERS")) != NULL)
        read_workers(text);
    if ((text = ouroi_os_getenv("OURO_GC_THRESHOLD")) != NULL)
        read_threshold(text);
    if ((text = ouroi_os_getenv("OURO_GC_DEBUG")) != NULL)
        read_debug(text);
    if ((text = ouroi_os_getenv("OURO_GC_DISABLE")) != NULL && text[0] != '\0' && strcmp(text, "0") != 0)
        ouro_gc_disable();
}

void ouroi_settings_fork_prepare(void)
{
    ouroi_lock_acquire_again(&gc_lock);
}

void ouroi_settings_fork_done(bool child)
{
    if (child)
        ouroi_lock_reset(&gc_lock);
    else
        ouroi_lock_release(&gc_lock);
}
