/* tools/process_memory.h: what the files that read a process's memory share. */
#ifndef OURO_TOOL_PROCESS_MEMORY_H
#define OURO_TOOL_PROCESS_MEMORY_H

#include "process.h"

#include "stats/stats.h"

struct process_library {
    struct ouroi_page page;
};

/* Copies out of the process. False: not all of it is there. */
bool process_get(const struct process *process, uint64_t at, void *to, size_t bytes);

#endif
