/* workloads/parser_text.h: the source for the parser load.
 *
 * Owns        nothing
 * Invariants  none
 * Sync        none
 * Source      none
 */
#ifndef OURO_BENCH_PARSER_TEXT_H
#define OURO_BENCH_PARSER_TEXT_H

#include <stdint.h>

/* A new string with that many functions; to be freed. */
char *ouroi_parser_text_new(uint64_t seed, unsigned functions);

#endif
