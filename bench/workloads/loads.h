/* workloads/loads.h: the run functions, one line per load; registry.c says what each stands for.
 *
 * Owns        nothing
 * Invariants  none
 * Sync        none
 * Source      none
 */
#ifndef OURO_BENCH_LOADS_H
#define OURO_BENCH_LOADS_H

#include "workload.h"

void ouroi_replace_run(const struct ouroi_job *job);
void ouroi_replace_mt_run(const struct ouroi_job *job);
void ouroi_sizemix_run(const struct ouroi_job *job);
void ouroi_sizemix_mt_run(const struct ouroi_job *job);
void ouroi_lru_run(const struct ouroi_job *job);
void ouroi_lru_mt_run(const struct ouroi_job *job);
void ouroi_prodcons_1_1_run(const struct ouroi_job *job);
void ouroi_prodcons_1_3_run(const struct ouroi_job *job);
void ouroi_prodcons_3_1_run(const struct ouroi_job *job);
void ouroi_larson_run(const struct ouroi_job *job);
void ouroi_conns_run(const struct ouroi_job *job);
void ouroi_parser_run(const struct ouroi_job *job);
void ouroi_vectors_run(const struct ouroi_job *job);
void ouroi_large_run(const struct ouroi_job *job);
void ouroi_phases_run(const struct ouroi_job *job);
void ouroi_strings_run(const struct ouroi_job *job);
void ouroi_aligned_run(const struct ouroi_job *job);
void ouroi_tables_run(const struct ouroi_job *job);
void ouroi_fragment_run(const struct ouroi_job *job);
void ouroi_trees_run(const struct ouroi_job *job);
void ouroi_handover_run(const struct ouroi_job *job);
void ouroi_transfer_run(const struct ouroi_job *job);
void ouroi_asym_run(const struct ouroi_job *job);
void ouroi_thrash_run(const struct ouroi_job *job);
void ouroi_scratch_run(const struct ouroi_job *job);
void ouroi_broker_run(const struct ouroi_job *job);
void ouroi_pipeline_run(const struct ouroi_job *job);
void ouroi_iobuf_run(const struct ouroi_job *job);

#endif
