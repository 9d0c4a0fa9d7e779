/* workloads/tables.c: tables that must start empty, from calloc: filled sparsely, looked up, dropped.
 *
 * Owns        a few open-addressing hash tables.
 * Invariants  a new table is all zero; a slot holds 0 or a key that was put there.
 * Sync        none
 * Source      none
 */
#include "loads.h"
#include "sizes.h"
#include "stamp.h"

enum { TABLES_OPEN = 32, TABLES_LOAD_PARTS = 16 };

struct table {
    uint64_t *slots;
    uint32_t count; /* a power of two */
};

/* Puts one key for every TABLES_LOAD_PARTS slots. The probing sees only zeros and keys of this table, or memory was not clean. */
static void table_fill(struct table *table, struct ouroi_rand *rand)
{
    uint64_t mark = ouroi_rand_next(rand) >> 32;
    for (uint32_t keys = table->count / TABLES_LOAD_PARTS + 1; keys > 0; keys--) {
        uint64_t key = ouroi_rand_next(rand) << 32 | mark;
        uint32_t at = (uint32_t)(key >> 40) & (table->count - 1);
        while (table->slots[at] != 0) {
            if ((table->slots[at] & UINT32_MAX) != mark)
                ouroi_bench_die("calloc gave a block that was not zero");
            at = (at + 1) & (table->count - 1);
        }
        table->slots[at] = key;
    }
}

void ouroi_tables_run(const struct ouroi_job *job)
{
    static struct table tables[TABLES_OPEN];
    struct ouroi_sizes sizes;
    struct ouroi_rand rand = ouroi_rand_seed(job->seed);
    ouroi_sizes_lognormal(&sizes, job->seed, 128, 1.7, 32, 128 << 10); /* slots: a median of 1 KiB, up to 1 MiB */
    for (uint64_t i = 0; i < job->ops; i++) {
        struct table *table = &tables[ouroi_rand_below(&rand, TABLES_OPEN)];
        free(table->slots);
        uint32_t wanted = ouroi_sizes_draw(&sizes, &rand);
        for (table->count = 32; 2 * table->count <= wanted;)
            table->count *= 2;
        table->slots = ouroi_must(calloc(table->count, sizeof(uint64_t)));
        table_fill(table, &rand);
    }
    for (size_t i = 0; i < TABLES_OPEN; i++) {
        free(tables[i].slots);
        tables[i].slots = NULL;
    }
}
