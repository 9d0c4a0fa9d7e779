/* preload/plugin.h: what plugin.c offers. The names are looked up by dlsym. */
#ifndef PLUGIN_H
#define PLUGIN_H

#include <stdbool.h>
#include <stddef.h>

void *plugin_take(size_t size);
void plugin_free(void *ptr);
void *plugin_grow(void *ptr, size_t size);
char *plugin_text(const char *text); /* by strdup: libc's own allocation */
size_t plugin_usable(void *ptr);
bool plugin_thread(void); /* allocates for this thread */
void plugin_thread_done(void);

#endif
