/* pool/shelf.h: where pools without an owner wait. */
#ifndef OUROI_SHELF_H
#define OUROI_SHELF_H

#include "pool/pool.h"

/* A node's shelves: one for each size class, one more for each where there are tracked objects. */
#define OUROI_SHELVES (OURO_DROPIN ? OUROI_CLASSES : 2 * OUROI_CLASSES)
OUROI_INLINE unsigned ouroi_shelf_index(unsigned size_class, bool nodes)
{
    return nodes && !OURO_DROPIN ? size_class + OUROI_CLASSES : size_class;
}

/* The shelf for pools like this one, locked. */
struct ouroi_shelf *ouroi_shelf_lock(const struct ouroi_pool *pool);
/* Links `pool`, unless that is NULL, and unlocks. */
void ouroi_shelf_unlock(struct ouroi_shelf *shelf, struct ouroi_pool *pool);

/* A table as pools of this class and node have, that one which is no more had: of living blocks, of states, of traces.
 * NULL: none. */
enum ouroi_table { OUROI_TABLE_LIVE, OUROI_TABLE_STATES, OUROI_TABLE_TRACES, OUROI_TABLES };
void *ouroi_shelf_take_table(const struct ouroi_pool *pool, enum ouroi_table kind);
/* Keeps one for another pool. Its first word is changed. */
void ouroi_shelf_keep_table(const struct ouroi_pool *pool, enum ouroi_table kind, void *table);

/* Takes a pool that the caller has become the owner of off its shelf, if it is still there. */
void ouroi_shelf_forget(struct ouroi_pool *pool);

/* Takes the first pool that `own` succeeds with; *word is passed to it. NULL: none. */
struct ouroi_pool *ouroi_shelf_pop(unsigned node, unsigned index, bool (*own)(struct ouroi_pool *pool, uint64_t *word),
                                   uint64_t *word);

/* The same for the last pool, if it came to the shelf before the beat (all: and did not come in it, as of the last call of
 * ouroi_shelf_beat). */
struct ouroi_pool *ouroi_shelf_pop_last(unsigned node, unsigned index, uint32_t beat, bool all,
                                        bool (*own)(struct ouroi_pool *pool, uint64_t *word), uint64_t *word);

/* Begins a beat: the number that pools get which come from now on. */
uint32_t ouroi_shelf_beat(void);

/* What is listed now has been looked through: only more of it wakes the background thread. */
void ouroi_shelf_quiet(void);

/* Bytes of pools on shelves. */
size_t ouroi_shelf_listed(void);

#endif
