/* trace/session.c: see session.h.
 *
 * A traceback and a type's name have one number. The table of numbers is probed linearly; a slot holds the upper bits of
 * the hash and the number, so that others are told apart without a look at them. It doubles when it is half full; old ones
 * stay until the session's end, for who reads them.
 * Where blocks are sampled, sizes and counts are multiplied by 1 / chance when they are counted and when they are forgotten:
 * counts in steps of 2^-16, so that both are the same numbers, and what is freed comes to nothing.
 */
#include "trace/session.h"

#include "trace/unwind.h"

#include <errno.h>
#include <string.h>

enum {
    NUMBER_BITS = 24,
    CHUNK = 4096, /* traces */
    CHUNKS = (1 << NUMBER_BITS) / CHUNK,
    TALLIES = 256, /* in a piece of a ledger: a page */
    TABLE_LEAST = 4096,
    ONE_BITS = 16, /* a count of one is 1 << 16 */
};
#define NUMBER_MASK (((uint64_t)1 << NUMBER_BITS) - 1)
#define PIECE_BYTES ((size_t)256 << 10)

struct trace {
    uint64_t hash;
    const char *type;      /* as it was given: what it is known by */
    const char *type_text; /* a copy, without "struct " */
    size_t count;
    void *frames[];
};

struct tally {
    uint64_t bytes, count;
};

struct table {
    size_t mask;
    uint64_t slots[];
};

/* Memory of a session, mapped piece by piece. */
struct piece {
    struct piece *next;
    size_t bytes;
};

struct session {
    uint32_t epoch;
    unsigned max_frames;
    size_t sample_bytes;
    uint64_t weights[OUROI_CLASSES]; /* 1 / chance, of slots of pools; in steps of 2^-16 */
    struct table *table;
    uint32_t count; /* traces so far: numbers 1 to count */
    struct trace **chunks[CHUNKS];
    /* guarded by ouroi_intern_lock, as the growth of the above */
    struct piece *pieces;
    uintptr_t at, end;
    size_t bytes;
    /* everybody's */
    uint64_t lost __attribute__((aligned(OUROI_CACHE_LINE)));
    uint64_t current, peak;
};

static struct session *session;
static uint32_t last_epoch, max_frames_now;

static struct session *look(void)
{
    return ouroi_atomic_load_acquire(&session); /* [TRACE-SESSION look] acquire, pairs with [TRACE-SESSION store] */
}

static void store(struct session *s)
{
    ouroi_atomic_store_release(&session, s); /* [TRACE-SESSION store] release, pairs with [TRACE-SESSION look] */
}

/* Memory. */

static void *session_alloc(struct session *s, size_t bytes)
{
    bytes = ouroi_align_up(bytes, 16);
    if (s->end - s->at < bytes) {
        int error;
        size_t want = ouroi_align_up(bytes + sizeof(struct piece) + 16, ouroi_machine.page_bytes);
        want = want < PIECE_BYTES ? PIECE_BYTES : want;
        struct piece *piece = ouroi_os.map(NULL, want, OUROI_MAP_ANYWHERE, &error);
        if (piece == NULL)
            return NULL;
        *piece = (struct piece){ s->pieces, want };
        s->pieces = piece;
        s->at = (uintptr_t)(piece + 1);
        s->end = (uintptr_t)piece + want;
        OUROI_OWNED_ADD(&s->bytes, want);
    }
    void *p = (void *)s->at;
    s->at += bytes;
    return p;
}

static void *session_alloc_locked(struct session *s, size_t bytes)
{
    ouroi_lock_acquire(&ouroi_intern_lock);
    void *p = session_alloc(s, bytes);
    ouroi_lock_release(&ouroi_intern_lock);
    return p;
}

static void unmap_session(struct session *s)
{
    struct piece *next;
    for (struct piece *piece = s->pieces; piece != NULL; piece = next) {
        next = piece->next;
        ouroi_os.unmap(piece, piece->bytes);
    }
    ouroi_os.unmap(s, ouroi_align_up(sizeof *s, ouroi_machine.page_bytes));
}

static uint64_t weight_of(size_t slot, size_t sample_bytes)
{
    if (sample_bytes == 0)
        return (uint64_t)1 << ONE_BITS;
    double weight = (double)((uint64_t)1 << ONE_BITS) / ouroi_sample_chance(slot + (slot == 0), sample_bytes);
    return weight < 9e18 ? (uint64_t)(weight + 0.5) : (uint64_t)9000000000000000000;
}

static struct session *make_session(unsigned max_frames, size_t sample_bytes)
{
    int error;
    struct session *s =
        ouroi_os.map(NULL, ouroi_align_up(sizeof *s, ouroi_machine.page_bytes), OUROI_MAP_ANYWHERE, &error);
    if (s == NULL)
        return NULL;
    s->bytes = sizeof *s;
    s->table = session_alloc(s, sizeof *s->table + TABLE_LEAST * sizeof s->table->slots[0]);
    if (s->table == NULL) {
        unmap_session(s);
        return NULL;
    }
    s->table->mask = TABLE_LEAST - 1;
    last_epoch = last_epoch == NUMBER_MASK ? 1 : last_epoch + 1;
    s->epoch = last_epoch;
    s->max_frames = max_frames;
    s->sample_bytes = sample_bytes;
    for (unsigned c = 1; c < OUROI_CLASSES; c++)
        s->weights[c] = weight_of(ouroi_class_bytes(c), sample_bytes);
    return s;
}

/* Tracebacks. */

static struct trace *trace_at(struct session *s, uint32_t number)
{
    return s->chunks[number / CHUNK][number % CHUNK];
}

static bool is_same(const struct trace *trace, const struct ouroi_site *site)
{
    return trace->hash == site->hash && trace->count == site->count && trace->type == site->type &&
           memcmp(trace->frames, site->frames, site->count * sizeof site->frames[0]) == 0;
}

/* The number of the traceback, or 0, and *at is where a probe ended. */
static uint32_t find(struct session *s, struct table *table, const struct ouroi_site *site, size_t *at)
{
    for (size_t i = (size_t)(site->hash >> NUMBER_BITS) & table->mask;; i = (i + 1) & table->mask) {
        /* [INTERN look] acquire, pairs with [INTERN add] */
        uint64_t slot = ouroi_atomic_load_acquire(&table->slots[i]);
        *at = i;
        if (slot == 0)
            return 0;
        uint32_t number = (uint32_t)(slot & NUMBER_MASK);
        if (((slot ^ site->hash) & ~NUMBER_MASK) == 0 && is_same(trace_at(s, number), site))
            return number;
    }
}

/* A table twice as large, with what the last one has. NULL: no memory. */
static struct table *grow(struct session *s)
{
    struct table *old = s->table;
    size_t slots = 2 * (old->mask + 1);
    struct table *table = session_alloc(s, sizeof *table + slots * sizeof table->slots[0]);
    if (table == NULL)
        return NULL;
    table->mask = slots - 1;
    for (size_t i = 0; i <= old->mask; i++) {
        uint64_t slot = old->slots[i];
        if (slot == 0)
            continue;
        size_t at = (size_t)(trace_at(s, (uint32_t)(slot & NUMBER_MASK))->hash >> NUMBER_BITS) & table->mask;
        while (table->slots[at] != 0)
            at = (at + 1) & table->mask;
        table->slots[at] = slot;
    }
    ouroi_atomic_store_release(&s->table, table); /* [INTERN add] release, pairs with [INTERN look] */
    return table;
}

static const char *copy_type(struct session *s, const char *type)
{
    static const char prefix[] = "struct ";
    if (strncmp(type, prefix, sizeof prefix - 1) == 0)
        type += sizeof prefix - 1;
    size_t bytes = strlen(type) + 1;
    char *text = session_alloc(s, bytes);
    return text == NULL ? NULL : memcpy(text, type, bytes);
}

/* With ouroi_intern_lock. 0: no memory, or no number left. */
static uint32_t add(struct session *s, const struct ouroi_site *site)
{
    size_t at;
    struct table *table = s->table;
    uint32_t number = find(s, table, site, &at);
    if (number != 0)
        return number;
    number = s->count + 1;
    if (number > NUMBER_MASK)
        return 0;
    if (number > table->mask / 2) {
        table = grow(s);
        if (table == NULL)
            return 0;
        find(s, table, site, &at);
    }
    if (s->chunks[number / CHUNK] == NULL) {
        struct trace **chunk = session_alloc(s, CHUNK * sizeof *chunk);
        if (chunk == NULL)
            return 0;
        s->chunks[number / CHUNK] = chunk;
    }
    size_t bytes = site->count * sizeof site->frames[0];
    struct trace *trace = session_alloc(s, sizeof *trace + bytes);
    if (trace == NULL)
        return 0;
    *trace = (struct trace){ .hash = site->hash, .type = site->type, .count = site->count };
    memcpy(trace->frames, site->frames, bytes);
    if (site->type != NULL && (trace->type_text = copy_type(s, site->type)) == NULL)
        return 0;
    s->chunks[number / CHUNK][number % CHUNK] = trace;
    OUROI_OWNED_SET(&s->count, number);
    /* [INTERN add] release, pairs with [INTERN look]: the trace, and the chunk that names it */
    ouroi_atomic_store_release(&table->slots[at], (site->hash & ~NUMBER_MASK) | number);
    return number;
}

static uint32_t intern(struct session *s, const struct ouroi_site *site)
{
    size_t at;
    /* [INTERN look] acquire, pairs with [INTERN add] */
    uint32_t number = find(s, ouroi_atomic_load_acquire(&s->table), site, &at);
    if (OUROI_LIKELY(number != 0))
        return number;
    ouroi_lock_acquire(&ouroi_intern_lock);
    number = add(s, site);
    ouroi_lock_release(&ouroi_intern_lock);
    return number;
}

/* Ledgers. */

static OUROI_NOINLINE bool extend_ledger(struct session *s, struct ouroi_ledger *ledger, uint32_t piece)
{
    uint32_t room = ledger->epoch == s->epoch && ledger->room > 0 ? ledger->room : 8;
    while (room <= piece)
        room *= 2;
    struct tally **pieces = session_alloc_locked(s, room * sizeof *pieces);
    if (pieces == NULL)
        return false;
    if (ledger->epoch == s->epoch && ledger->counts != NULL)
        memcpy(pieces, ledger->counts, ledger->room * sizeof *pieces);
    *ledger = (struct ouroi_ledger){ pieces, s->epoch, room };
    return true;
}

static struct tally *tally_of(struct session *s, struct ouroi_ledger *ledger, uint32_t number)
{
    uint32_t piece = number / TALLIES;
    if (OUROI_UNLIKELY(ledger->epoch != s->epoch || piece >= ledger->room) && !extend_ledger(s, ledger, piece))
        return NULL;
    struct tally **pieces = ledger->counts;
    if (OUROI_UNLIKELY(pieces[piece] == NULL) &&
        (pieces[piece] = session_alloc_locked(s, TALLIES * sizeof **pieces)) == NULL)
        return NULL;
    return &pieces[piece][number % TALLIES];
}

OUROI_INLINE uint64_t weight(const struct session *s, size_t slot)
{
    if (OUROI_LIKELY(s->sample_bytes == 0))
        return (uint64_t)1 << ONE_BITS;
    return slot <= OUROI_SMALL_MAX && ouroi_class_bytes(ouroi_class_of(slot)) == slot
               ? s->weights[ouroi_class_of(slot)]
               : weight_of(slot, s->sample_bytes);
}

static uint64_t scaled(size_t size, uint64_t by)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)(((wide)size * by + (1u << (ONE_BITS - 1))) >> ONE_BITS);
}

static uint64_t note(struct ouroi_ledger *ledger, const struct ouroi_site *site, size_t size, size_t slot)
{
    struct session *s = look();
    if (s == NULL)
        return 0;
    uint32_t number = intern(s, site);
    struct tally *tally = number != 0 ? tally_of(s, ledger, number) : NULL;
    if (OUROI_UNLIKELY(tally == NULL)) {
        ouroi_atomic_fetch_add_relaxed(&s->lost, 1); /* relaxed: a count on its own */
        return 0;
    }
    uint64_t by = weight(s, slot), bytes = scaled(size, by);
    tally->bytes += bytes;
    tally->count += by;
    /* relaxed: sums on their own; each value that the sum takes is seen by the one who made it so */
    uint64_t sum = ouroi_atomic_fetch_add_relaxed(&s->current, bytes) + bytes;
    uint64_t peak = ouroi_atomic_load_relaxed(&s->peak);
    while (peak < sum && !ouroi_atomic_cas_relaxed(&s->peak, &peak, sum)) {
        /* relaxed: see above */
    }
    return (uint64_t)number << NUMBER_BITS | s->epoch;
}

static void forget(struct ouroi_ledger *ledger, uint64_t token, size_t size, size_t slot)
{
    struct session *s = look();
    if (s == NULL || (token & NUMBER_MASK) != s->epoch)
        return;
    struct tally *tally = tally_of(s, ledger, (uint32_t)(token >> NUMBER_BITS)); /* which note made */
    uint64_t by = weight(s, slot), bytes = scaled(size, by);
    tally->bytes -= bytes;
    tally->count -= by;
    ouroi_atomic_fetch_sub_relaxed(&s->current, bytes); /* relaxed: see note */
}

static void find_site(struct ouroi_site *site)
{
    uint64_t hash;
    site->count =
        ouroi_unwind(site->frames, ouroi_atomic_load_relaxed(&max_frames_now), &hash); /* relaxed: a setting */
    hash = (hash ^ (uintptr_t)site->type * 0x9e3779b97f4a7c15u) * 0x94d049bb133111ebu;
    site->hash = hash ^ hash >> 32;
}

const struct ouroi_tracer ouroi_session_tracer = { find_site, note, forget };

/* Sessions. */

static void take_away(struct session *s, struct session *next)
{
    store(next);
    if (s == NULL)
        return;
    ouroi_tracing_settle();
    unmap_session(s);
}

int ouroi_session_begin(unsigned max_frames, size_t sample_bytes)
{
    struct session *s = make_session(max_frames, sample_bytes);
    if (s == NULL)
        return -ENOMEM;
    ouroi_atomic_store_relaxed(&max_frames_now, /* relaxed: a setting */
                               max_frames < OUROI_SITE_FRAMES ? max_frames : OUROI_SITE_FRAMES);
    take_away(session, s);
    return 0;
}

void ouroi_session_end(void)
{
    take_away(session, NULL);
}

int ouroi_session_renew(void)
{
    struct session *s = make_session(session->max_frames, session->sample_bytes);
    if (s == NULL)
        return -ENOMEM;
    take_away(session, s);
    return 0;
}

bool ouroi_session_is_on(void)
{
    return look() != NULL;
}

size_t ouroi_session_bytes(void)
{
    return session == NULL ? 0 : OUROI_OWNED_GET(&session->bytes);
}

void ouroi_session_memory(size_t *current, size_t *peak)
{
    /* relaxed, here and below: counts on their own */
    *current = session == NULL ? 0 : ouroi_atomic_load_relaxed(&session->current);
    *peak = session == NULL ? 0 : ouroi_atomic_load_relaxed(&session->peak);
    *peak = *peak < *current ? *current : *peak; /* a sum that grew between the two */
}

void ouroi_session_reset_peak(void)
{
    if (session == NULL)
        return;
    uint64_t now = ouroi_atomic_load_relaxed(&session->current); /* relaxed, both: counts on their own */
    ouroi_atomic_store_relaxed(&session->peak, now);
}

uint64_t ouroi_session_lost(void)
{
    return session == NULL ? 0 : ouroi_atomic_load_relaxed(&session->lost); /* relaxed: a count on its own */
}

size_t ouroi_session_frames(uint64_t token, void **frames, size_t max)
{
    struct session *s = look();
    if (s == NULL || (token & NUMBER_MASK) != s->epoch)
        return 0;
    const struct trace *trace = trace_at(s, (uint32_t)(token >> NUMBER_BITS));
    size_t count = trace->count < max ? trace->count : max;
    if (count > 0)
        memcpy(frames, trace->frames, count * sizeof *frames);
    return count;
}

/* Snapshots. */

struct sums {
    struct session *session;
    struct tally *of; /* traces, by number */
    uint32_t count;
};

static void sum_ledger(struct ouroi_ledger *ledger, void *arg)
{
    struct sums *sums = arg;
    struct tally **pieces = ledger->counts;
    for (uint32_t i = 0; ledger->epoch == sums->session->epoch && i < ledger->room; i++)
        for (uint32_t j = 0; pieces[i] != NULL && j < TALLIES && i * TALLIES + j <= sums->count; j++) {
            sums->of[i * TALLIES + j].bytes += pieces[i][j].bytes;
            sums->of[i * TALLIES + j].count += pieces[i][j].count;
        }
}

static int fill(ouro_snapshot *snapshot, const struct sums *sums)
{
    int rc = 0;
    for (uint32_t i = 1; rc == 0 && i <= sums->count; i++) {
        const struct tally *sum = &sums->of[i];
        const struct trace *trace = trace_at(sums->session, i);
        uint64_t count = (sum->count + (1u << (ONE_BITS - 1))) >> ONE_BITS;
        if (sum->count != 0)
            rc = ouroi_snapshot_add(snapshot, (const void *const *)trace->frames, trace->count, trace->type_text,
                                    (size_t)sum->bytes, (size_t)(count + (count == 0)));
    }
    return rc;
}

ouro_snapshot *ouroi_session_snapshot(void)
{
    struct sums sums = { session, NULL, OUROI_OWNED_GET(&session->count) };
    size_t bytes = ouroi_align_up((sums.count + 1) * sizeof *sums.of, ouroi_machine.page_bytes);
    int error;
    sums.of = ouroi_os.map(NULL, bytes, OUROI_MAP_ANYWHERE, &error);
    ouro_snapshot *snapshot = sums.of != NULL ? ouroi_snapshot_begin(session->max_frames, session->sample_bytes) : NULL;
    if (snapshot != NULL) {
        ouroi_tracing_each(sum_ledger, &sums);
        if (fill(snapshot, &sums) != 0) {
            ouro_snapshot_free(snapshot);
            snapshot = NULL;
        }
    }
    if (sums.of != NULL)
        ouroi_os.unmap(sums.of, bytes);
    return snapshot;
}
