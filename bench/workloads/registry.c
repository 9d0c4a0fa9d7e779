/* workloads/registry.c: the list of workloads.
 *
 * Owns        the table that --list prints and the driver reads.
 * Invariants  names are unique; defaults take about 0.4 to 1 s under jemalloc on two slow cores.
 * Sync        none
 * Source      none
 */
#include "loads.h"

#include <stdbool.h>

const struct ouroi_workload ouroi_workloads[] = {
    { "replace", "objects of a server's sizes that die in random order", OUROI_ONE_THREAD, 1, 1, 30000000, true,
      ouroi_replace_run },
    { "sizemix", "groups of blocks freed first-first, last-first or much later", OUROI_ONE_THREAD, 1, 1, 40000000, true,
      ouroi_sizemix_run },
    { "parser", "a compiler's front end: names, scopes, trees, code", OUROI_ONE_THREAD, 1, 1, 40000, false,
      ouroi_parser_run },
    { "trees", "trees of small nodes, built, walked, torn down", OUROI_ONE_THREAD, 1, 1, 30000000, true,
      ouroi_trees_run },
    { "lru", "a cache with log-normal values and a budget", OUROI_ONE_THREAD, 1, 1, 1500000, true, ouroi_lru_run },
    { "phases", "memory filled with one size after another", OUROI_ONE_THREAD, 1, 1, 10000000, true, ouroi_phases_run },
    { "vectors", "vectors that grow by realloc side by side", OUROI_ONE_THREAD, 1, 1, 60000, true, ouroi_vectors_run },
    { "strings", "text: append by realloc, split, copy, join", OUROI_ONE_THREAD, 1, 1, 1000000, true,
      ouroi_strings_run },
    { "tables", "zeroed tables from calloc, filled sparsely", OUROI_ONE_THREAD, 1, 1, 1500000, true, ouroi_tables_run },
    { "aligned", "blocks aligned to 32 bytes up to a page", OUROI_ONE_THREAD, 1, 1, 12000000, true, ouroi_aligned_run },
    { "large", "buffers of 64 KiB to 4 MiB", OUROI_ONE_THREAD, 1, 1, 20000, false, ouroi_large_run },
    { "fragment", "nine tenths die at random, other sizes come; then idle", OUROI_ONE_THREAD, 1, 1, 5000000, true,
      ouroi_fragment_run },

    { "replace-mt", "replace, on threads that share nothing", OUROI_MANY_THREADS, 4, 1, 30000000, true,
      ouroi_replace_mt_run },
    { "sizemix-mt", "sizemix, most groups freed by another thread", OUROI_MANY_THREADS, 4, 1, 30000000, true,
      ouroi_sizemix_mt_run },
    { "larson", "server threads that come and go and inherit objects", OUROI_MANY_THREADS, 4, 1, 30000000, true,
      ouroi_larson_run },
    { "handover", "threads of one task that leave their memory to the next", OUROI_MANY_THREADS, 4, 1, 10000, true,
      ouroi_handover_run },
    { "prodcons-1-1", "as many producers as consumers of blocks", OUROI_MANY_THREADS, 2, 2, 8000000, true,
      ouroi_prodcons_1_1_run },
    { "prodcons-1-3", "one producer to three consumers", OUROI_MANY_THREADS, 4, 2, 8000000, true,
      ouroi_prodcons_1_3_run },
    { "prodcons-3-1", "three producers to one consumer", OUROI_MANY_THREADS, 4, 2, 8000000, true,
      ouroi_prodcons_3_1_run },
    { "asym", "half allocate, half free, by batches through one queue", OUROI_MANY_THREADS, 4, 2, 10000000, true,
      ouroi_asym_run },
    { "pipeline", "stages that free what they get and pass on something new", OUROI_MANY_THREADS, 4, 2, 5000000, true,
      ouroi_pipeline_run },
    { "transfer", "random work, blocks swapped between threads", OUROI_MANY_THREADS, 4, 1, 20000000, true,
      ouroi_transfer_run },
    { "conns", "connections: accepted, served and written by different threads", OUROI_MANY_THREADS, 4, 2, 1000000,
      true, ouroi_conns_run },
    { "broker", "messages to several subscribers, freed by the last", OUROI_MANY_THREADS, 4, 2, 2500000, true,
      ouroi_broker_run },
    { "lru-mt", "lru, shared by threads, a lock a shard", OUROI_MANY_THREADS, 4, 1, 2000000, true, ouroi_lru_mt_run },
    { "iobuf", "buffers of 16 KiB to 1 MiB, freed by another thread", OUROI_MANY_THREADS, 4, 2, 120000, true,
      ouroi_iobuf_run },
    { "thrash", "false sharing: do new objects of two threads share a line?", OUROI_MANY_THREADS, 4, 1, 12000000, false,
      ouroi_thrash_run },
    { "scratch", "false sharing: does what was freed elsewhere?", OUROI_MANY_THREADS, 4, 1, 12000000, false,
      ouroi_scratch_run },
};

const size_t ouroi_workload_count = sizeof ouroi_workloads / sizeof ouroi_workloads[0];
