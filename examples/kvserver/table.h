/* kvserver/table.h: open-addressed tables from strings to objects, for hashes and sorted sets. */
#ifndef KV_TABLE_H
#define KV_TABLE_H

#include "kv.h"

extern uint64_t table_seed; /* set before the first key */

/* Borrowed, or NULL. */
void *table_get(const struct pairs *pairs, const struct string *key);
/* *pairs: NULL at first; count: its keys. 1: new, 0: replaced, -1: no memory. Takes references of its own. */
int table_set(struct pairs **pairs, size_t count, struct string *key, void *value);
bool table_delete(struct pairs *pairs, const struct string *key);

#endif
