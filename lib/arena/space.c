/* arena/space.c: address space: the window, the map of its slices, and the few chunks outside.
 *
 * Owns        the window; the list of gaps in it; the table of what lies outside.
 * Invariants  nothing is reserved ahead: a process whose RLIMIT_AS is lowered later finds room for its own mappings.
 *             The window is all addresses below its end. Our chunks in it begin far from where Linux puts anything by
 *             itself, and go upwards; the map for what lies below them is one mapping that only reads as zero. Its map
 *             grows with it, so that an address is looked up without any subtraction. What the kernel places itself is part
 *             of the window if the map can cover it, else it is outside; then the map never grows that far. Where there
 *             is no such place (AddressSanitizer's shadow lies there), all chunks are outside.
 * Sync        the space lock, rank SPACE; readers of the map and of `outside` take none: [OUTSIDE].
 */
#include "arena/internal.h"

#include <errno.h>

enum {
    GAPS = 512,
    OUTSIDE = 1024,
    HINTS = 1024,
    TRIES = 64, /* places that turn out to be taken, before the kernel is asked for one */
};

#define MAP_STEP_BYTES ((size_t)64 << 10) /* the map of 256 MiB */
#define MAP_MAX_BYTES ((size_t)4 << 30)   /* of 16 TiB */
#define MAP_AT ((uintptr_t)80 << 40)      /* or below, if that is free; else where the kernel likes */
#define ADDRESSES_MAX ((size_t)1 << 57)   /* more than any process has */

size_t ouroi_window_slices;
struct ouroi_slice *ouroi_window_map;
struct ouroi_lock ouroi_space_lock = OUROI_LOCK_INIT(OUROI_RANK_SPACE);

struct gap {
    uintptr_t start;
    size_t chunks;
};
static struct gap gaps[GAPS]; /* by address; no two touch */
static unsigned gap_count;
static uintptr_t frontier;    /* the window is used up to here */
static uintptr_t window_base; /* the map of what is below was made to be read only */
static uintptr_t window_max = MAP_MAX_BYTES / sizeof(struct ouroi_slice) * OUROI_SLICE_BYTES;
static size_t reserved_bytes;

/* The version is odd while the entry changes. The map of one chunk stays with its entry, that of more goes with them. */
struct outside {
    unsigned version;
    uintptr_t start;
    size_t chunks; /* 0: not in use */
    struct ouroi_slice *map;
    struct ouroi_slice *map_of_one;
};
static struct outside outside[OUTSIDE];
static unsigned outside_count;

static uint16_t hints[HINTS]; /* where the entry of a chunk, by its number, was found last */

static struct ouroi_slice *look_outside(unsigned i, uintptr_t p)
{
    /* [OUTSIDE look] acquire, pairs with [OUTSIDE change], each in its turn. An entry that is changing is not the one
     * of a living block; one whose number moved while it was read had another start, which p may have seemed to fit. */
    unsigned version = ouroi_atomic_load_acquire(&outside[i].version);
    uintptr_t start = ouroi_atomic_load_acquire(&outside[i].start);
    bool fits = (p - start) / OUROI_CHUNK_BYTES < ouroi_atomic_load_acquire(&outside[i].chunks);
    struct ouroi_slice *map = ouroi_atomic_load_acquire(&outside[i].map);
    /* relaxed: ordered by the acquire loads before it */
    if (fits && version % 2 == 0 && ouroi_atomic_load_relaxed(&outside[i].version) == version)
        return &map[(p - start) >> OUROI_SLICE_SHIFT];
    return NULL;
}

static struct ouroi_slice *find_outside(uintptr_t p)
{
    /* [OUTSIDE read] acquire, pairs with [OUTSIDE add]: entries below the count are whole */
    unsigned count = ouroi_atomic_load_acquire(&outside_count);
    uint16_t *hint = &hints[p / OUROI_CHUNK_BYTES % HINTS];
    unsigned likely = ouroi_atomic_load_relaxed(hint); /* relaxed: any number will do, the entry is looked at */
    struct ouroi_slice *slice = likely < count ? look_outside(likely, p) : NULL;
    for (unsigned i = 0; slice == NULL && i < count; i++) {
        slice = look_outside(i, p);
        if (slice != NULL)
            ouroi_atomic_store_relaxed(hint, (uint16_t)i); /* relaxed: see above */
    }
    return slice;
}

/* The space lock is held. */
static void change_outside(struct outside *entry, uintptr_t start, size_t chunks, struct ouroi_slice *map)
{
    unsigned version = entry->version;
    ouroi_atomic_store_relaxed(&entry->version, version + 1); /* relaxed: before the release of what follows */
    /* [OUTSIDE change] release, pairs with [OUTSIDE look]: who sees one of these sees the odd version, or a later one */
    ouroi_atomic_store_release(&entry->start, start);
    ouroi_atomic_store_release(&entry->chunks, chunks);
    ouroi_atomic_store_release(&entry->map, map);
    ouroi_atomic_store_release(&entry->version, version + 2);
}

struct ouroi_slice *ouroi_slice_find(uintptr_t p)
{
    struct ouroi_slice *slice = ouroi_window_slice(p);
    return slice != NULL ? slice : find_outside(p);
}

void ouroi_slices_set(uintptr_t start, size_t slices, struct ouroi_run *run)
{
    struct ouroi_slice *slice = ouroi_slice_find(start);
    for (size_t i = 0; i < slices; i++) {
        ouroi_atomic_store_relaxed(&slice[i].owner, NULL); /* relaxed: see arena.h */
#if !OURO_DROPIN
        if (run == NULL) {
            OUROI_OWNED_SET(&slice[i].states, NULL);
            OUROI_OWNED_SET(&slice[i].young, false);
        }
#endif
        /* [RUN publish] release, pairs with [RUN walk]: the descriptor */
        ouroi_atomic_store_release(&slice[i].run, run);
    }
}

#if !OURO_DROPIN
void ouroi_run_set_states(struct ouroi_run *run, int8_t *states, uint32_t block_bytes)
{
    struct ouroi_slice *slice = ouroi_slice_find(run->start);
    uint32_t count = run->kind == OUROI_RUN_HUGE ? 1 : run->slices;
    for (uint32_t i = 0; i < count; i++) {
        slice[i].reciprocal = block_bytes == 0 ? 0 : (uint32_t)((((uint64_t)1 << 32) + block_bytes - 1) / block_bytes);
        slice[i].number = (uint16_t)i;
        slice[i].candidate = false;
        OUROI_OWNED_SET(&slice[i].states, states);
    }
    run->nodes = 1;
}
#endif

void ouroi_run_set_owner(struct ouroi_run *run, void *owner)
{
    struct ouroi_slice *slice = ouroi_slice_find(run->start);
    for (uint32_t i = 0; i < run->slices; i++)
        ouroi_atomic_store_relaxed(&slice[i].owner, owner); /* relaxed: see arena.h */
}

/* Makes the map cover the window up to `end`. */
static bool cover(uintptr_t end)
{
    size_t need = end >> OUROI_SLICE_SHIFT;
    if (end > window_max)
        return false;
    while (ouroi_window_slices < need) {
        int error;
        size_t have = ouroi_window_slices * sizeof(struct ouroi_slice);
        size_t more = need * sizeof(struct ouroi_slice) - have;
        more = ouroi_align_up(more, MAP_STEP_BYTES);
        if (ouroi_os.map((char *)ouroi_window_map + have, more, OUROI_MAP_EXACT, &error) == NULL)
            return false;
        /* relaxed: see ouroi_window_slice */
        ouroi_atomic_store_relaxed(&ouroi_window_slices, (have + more) / sizeof(struct ouroi_slice));
    }
    return true;
}

/* Takes `chunks` at a multiple of align_chunks from the gaps, first fit. 0: none fits. */
static uintptr_t take_gap(size_t chunks, size_t align_chunks)
{
    for (unsigned i = 0; i < gap_count; i++) {
        struct gap *gap = &gaps[i];
        uintptr_t end = gap->start + gap->chunks * OUROI_CHUNK_BYTES;
        uintptr_t at = ouroi_align_up(gap->start, align_chunks * OUROI_CHUNK_BYTES);
        if (at >= end || (end - at) / OUROI_CHUNK_BYTES < chunks)
            continue;
        uintptr_t rest = at + chunks * OUROI_CHUNK_BYTES;
        bool before = at != gap->start, after = rest != end;
        if (before && after) {
            if (gap_count == GAPS)
                continue;
            for (unsigned j = gap_count++; j > i + 1; j--)
                gaps[j] = gaps[j - 1];
            gaps[i + 1] = (struct gap){ rest, (end - rest) / OUROI_CHUNK_BYTES };
            gap->chunks = (at - gap->start) / OUROI_CHUNK_BYTES;
        } else if (before) {
            gap->chunks = (at - gap->start) / OUROI_CHUNK_BYTES;
        } else if (after) {
            *gap = (struct gap){ rest, (end - rest) / OUROI_CHUNK_BYTES };
        } else {
            gap_count--;
            for (unsigned j = i; j < gap_count; j++)
                gaps[j] = gaps[j + 1];
        }
        return at;
    }
    return 0;
}

/* Puts address space back among the gaps. Where there is no place to remember it, it is lost. */
static void add_gap(uintptr_t start, size_t chunks)
{
    uintptr_t end = start + chunks * OUROI_CHUNK_BYTES;
    unsigned i = 0;
    while (i < gap_count && gaps[i].start < start)
        i++;
    bool joins_before = i > 0 && gaps[i - 1].start + gaps[i - 1].chunks * OUROI_CHUNK_BYTES == start;
    bool joins_after = i < gap_count && gaps[i].start == end;
    if (joins_before) {
        gaps[i - 1].chunks += chunks + (joins_after ? gaps[i].chunks : 0);
        if (joins_after) {
            gap_count--;
            for (unsigned j = i; j < gap_count; j++)
                gaps[j] = gaps[j + 1];
        }
    } else if (joins_after) {
        gaps[i].start = start;
        gaps[i].chunks += chunks;
    } else if (gap_count < GAPS) {
        for (unsigned j = gap_count++; j > i; j--)
            gaps[j] = gaps[j - 1];
        gaps[i] = (struct gap){ start, chunks };
    }
    if (gap_count > 0) { /* what touches the frontier is no gap */
        struct gap *last = &gaps[gap_count - 1];
        if (last->start + last->chunks * OUROI_CHUNK_BYTES == frontier) {
            frontier = last->start;
            gap_count--;
        }
    }
}

static uintptr_t take_place(size_t chunks, size_t align_chunks)
{
    uintptr_t at = take_gap(chunks, align_chunks);
    if (at != 0 || ouroi_window_map == NULL)
        return at;
    at = ouroi_align_up(frontier, align_chunks * OUROI_CHUNK_BYTES);
    uintptr_t end = at + chunks * OUROI_CHUNK_BYTES;
    if (at == 0 || end < at || !cover(end))
        return 0;
    uintptr_t skipped = frontier;
    frontier = end;
    if (at != skipped)
        add_gap(skipped, (at - skipped) / OUROI_CHUNK_BYTES);
    return at;
}

/* Makes what the kernel placed within the reach of the map a part of the window. */
static bool join_window(uintptr_t start, uintptr_t end)
{
    if (ouroi_window_map == NULL || !cover(end))
        return false;
    if (start >= window_base)
        return true;
    uintptr_t page = ouroi_machine.page_bytes;
    uintptr_t from = ouroi_align_down((uintptr_t)&ouroi_window_map[start >> OUROI_SLICE_SHIFT], page);
    uintptr_t to = ouroi_align_up((uintptr_t)&ouroi_window_map[end >> OUROI_SLICE_SHIFT], page);
    return ouroi_os.protect((void *)from, to - from, true) == 0;
}

static size_t outside_map_bytes(size_t chunks)
{
    return chunks * OUROI_CHUNK_SLICES * sizeof(struct ouroi_slice);
}

/* Makes it an entry of `outside`. */
static bool join_outside(uintptr_t start, size_t chunks)
{
    unsigned i = 0;
    int error;
    while (i < outside_count && outside[i].chunks != 0)
        i++;
    if (i == OUTSIDE)
        return false;
    struct ouroi_slice *map = outside[i].map_of_one;
    if (chunks > 1)
        map = ouroi_os.map(NULL, outside_map_bytes(chunks), OUROI_MAP_ANYWHERE, &error);
    else if (map == NULL)
        outside[i].map_of_one = map = ouroi_meta_alloc(outside_map_bytes(1));
    if (map == NULL)
        return false;
    if (start < window_max)
        window_max = start;
    change_outside(&outside[i], start, chunks, map);
    if (i == outside_count)
        ouroi_atomic_store_release(&outside_count, i + 1); /* [OUTSIDE add] release, pairs with [OUTSIDE read] */
    return true;
}

/* A mapping where the kernel likes. */
static uintptr_t take_anywhere(size_t chunks, size_t align_chunks, size_t map_bytes)
{
    size_t alignment = align_chunks * OUROI_CHUNK_BYTES;
    size_t bytes = chunks * OUROI_CHUNK_BYTES + alignment;
    int error;
    uintptr_t got = (uintptr_t)ouroi_os.map(NULL, bytes, OUROI_MAP_ANYWHERE, &error);
    if (got == 0)
        return 0;
    uintptr_t start = ouroi_align_up(got, alignment);
    if (start != got)
        ouroi_os.unmap((void *)got, start - got);
    uintptr_t end = start + map_bytes;
    ouroi_os.unmap((void *)end, got + bytes - end);
    /* What follows the mapping is the kernel's again: it may place another chunk of ours there. */
    chunks = (map_bytes + OUROI_CHUNK_BYTES - 1) / OUROI_CHUNK_BYTES;
    if (join_window(start, start + chunks * OUROI_CHUNK_BYTES) || join_outside(start, chunks))
        return start;
    ouroi_os.unmap((void *)start, map_bytes);
    return 0;
}

uintptr_t ouroi_space_take(size_t chunks, size_t align_chunks, size_t map_bytes)
{
    uintptr_t at = 0;
    if (chunks + align_chunks > ADDRESSES_MAX / OUROI_CHUNK_BYTES)
        return 0;
    map_bytes = ouroi_align_up(map_bytes, ouroi_machine.page_bytes);
    for (unsigned try = 0; try < TRIES; try++) {
        at = take_place(chunks, align_chunks);
        if (at == 0)
            break;
        int error;
        if (ouroi_os.map((void *)at, map_bytes, OUROI_MAP_EXACT, &error) != NULL)
            break;
        if (error == -ENOMEM) {
            add_gap(at, chunks);
            return 0;
        }
        at = 0; /* somebody else's: that place is never asked for again */
    }
    if (at == 0)
        at = take_anywhere(chunks, align_chunks, map_bytes);
    if (at != 0)
        OUROI_OWNED_ADD(&reserved_bytes, map_bytes);
    return at;
}

int ouroi_space_map(uintptr_t start, size_t from, size_t to)
{
    int error;
    if (ouroi_os.map((void *)(start + from), to - from, OUROI_MAP_EXACT, &error) == NULL)
        return error;
    OUROI_OWNED_ADD(&reserved_bytes, to - from);
    return 0;
}

bool ouroi_space_unmap(uintptr_t start, size_t from, size_t to)
{
    if (ouroi_os.unmap((void *)(start + from), to - from) != 0)
        return false;
    OUROI_OWNED_ADD(&reserved_bytes, 0 - (to - from));
    return true;
}

bool ouroi_space_extend(uintptr_t start, size_t chunks, size_t more)
{
    uintptr_t end = start + chunks * OUROI_CHUNK_BYTES;
    uintptr_t new_end = end + more * OUROI_CHUNK_BYTES;
    if (end == frontier) {
        if (new_end < end || !cover(new_end))
            return false;
        frontier = new_end;
        return true;
    }
    for (unsigned i = 0; i < gap_count; i++) {
        if (gaps[i].start != end)
            continue;
        if (gaps[i].chunks < more)
            return false;
        gaps[i].start = new_end;
        gaps[i].chunks -= more;
        if (gaps[i].chunks == 0) {
            gap_count--;
            for (unsigned j = i; j < gap_count; j++)
                gaps[j] = gaps[j + 1];
        }
        return true;
    }
    return false;
}

void ouroi_space_resized(size_t from, size_t to)
{
    OUROI_OWNED_ADD(&reserved_bytes, to - from);
}

void ouroi_space_give(uintptr_t start, size_t chunks, size_t map_bytes)
{
    map_bytes = ouroi_align_up(map_bytes, ouroi_machine.page_bytes);
    if (map_bytes != 0 && ouroi_os.unmap((void *)start, map_bytes) != 0) {
        ouroi_os.purge((void *)start, map_bytes); /* too many mappings: the place is lost, the memory is not */
        return;
    }
    OUROI_OWNED_ADD(&reserved_bytes, 0 - map_bytes);
    if (ouroi_window_slice(start) != NULL) {
        if (start >= window_base && start < frontier)
            add_gap(start, chunks);
        return; /* else it was the kernel's choice, and is its own again */
    }
    for (unsigned i = 0; i < outside_count; i++) {
        if (outside[i].chunks == 0 || outside[i].start != start)
            continue;
        struct ouroi_slice *map = outside[i].map;
        chunks = outside[i].chunks;
        change_outside(&outside[i], 0, 0, NULL);
        if (map != outside[i].map_of_one)
            ouroi_os.unmap(map, outside_map_bytes(chunks));
    }
}

size_t ouroi_space_reserved(void)
{
    return OUROI_OWNED_GET(&reserved_bytes);
}

int ouroi_space_init(void)
{
    static bool done;
    if (done)
        return 0;
    done = true;
    /* 8 to 64 GiB, in steps of one: above programs that are not position independent, below all that Linux places by
     * itself. Under a limit of address space the lowest, whose map is the shortest. */
    uint64_t seed = ouroi_os.now_ns() ^ (uintptr_t)&seed;
    unsigned spread = ouroi_machine.address_limit_bytes == SIZE_MAX ? 56 : 1;
    for (unsigned try = 0; try < 4; try++) {
        uintptr_t base = (8 + ouroi_random_next(&seed) % spread) << 30;
        uintptr_t map = MAP_AT - (uintptr_t)(ouroi_random_next(&seed) & 1023) * 8 * MAP_MAX_BYTES;
        size_t below = base / OUROI_SLICE_BYTES * sizeof(struct ouroi_slice);
        int error;
        /* A wish first: ThreadSanitizer takes an address that it does not like for 0, even where it must be exact. */
        void *probe = ouroi_os.map((void *)base, OUROI_SLICE_BYTES, OUROI_MAP_ANYWHERE, &error);
        if (probe == NULL)
            return 0; /* no memory now: what comes later lies outside */
        ouroi_os.unmap(probe, OUROI_SLICE_BYTES);
        if ((uintptr_t)probe != base)
            continue;
        void *got = ouroi_os.map((void *)map, below, OUROI_MAP_ANYWHERE | OUROI_MAP_READ, &error);
        if (got == NULL)
            continue;
        ouroi_window_map = got; /* wherever that is */
        window_base = frontier = base;
        /* relaxed: before any block was handed out */
        ouroi_atomic_store_relaxed(&ouroi_window_slices, base / OUROI_SLICE_BYTES);
        break;
    }
    return 0;
}

void ouroi_space_describe(struct ouroi_arena_view *view)
{
    view->window_slices = (uintptr_t)&ouroi_window_slices;
    view->window_map = (uintptr_t)&ouroi_window_map;
    view->slice_bytes = sizeof(struct ouroi_slice);
    view->slice_run = offsetof(struct ouroi_slice, run);
    view->outside = (uintptr_t)outside;
    view->outside_count = (uintptr_t)&outside_count;
    view->outside_bytes = sizeof *outside;
    view->outside_start = offsetof(struct outside, start);
    view->outside_chunks = offsetof(struct outside, chunks);
    view->outside_map = offsetof(struct outside, map);
    view->reserved = (uintptr_t)&reserved_bytes;
}
