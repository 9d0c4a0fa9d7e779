/* stats/stats.h: how statistics are written: as JSON, and as OpenMetrics text.
 *
 * Owns        the list of sections that the layers above add.
 * Sync        a writer belongs to one call. Sections are added by constructors, before the program's own.
 *
 * A writer has its memory from the kernel, not from the heap that is being measured, and hands all its text over in one
 * write, or in few where there is more than it has room for.
 */
#ifndef OUROI_STATS_H
#define OUROI_STATS_H

#include "heap/heap.h"

struct ouroi_writer {
    char *text;
    size_t used, room;
    int fd;
    int error;     /* errno of the first write that failed; nothing is written after that */
    bool separate; /* JSON: the next value needs a comma before it */
};

/* As ouroi_format. */
void ouroi_writer_put(struct ouroi_writer *writer, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Nanoseconds as seconds, all nine digits. */
void ouroi_writer_put_seconds(struct ouroi_writer *writer, uint64_t ns);

/* JSON, on one line. key: NULL in arrays. Keys and texts are the library's own, and need no escapes. */
void ouroi_json_open(struct ouroi_writer *writer, const char *key, char bracket);
void ouroi_json_close(struct ouroi_writer *writer, char bracket);
void ouroi_json_number(struct ouroi_writer *writer, const char *key, uint64_t value);
void ouroi_json_bool(struct ouroi_writer *writer, const char *key, bool value);
void ouroi_json_text(struct ouroi_writer *writer, const char *key, const char *value);

/* OpenMetrics. family: begins one; all its samples follow. type: counter, gauge, histogram, info. unit: "bytes", "seconds"
 * or NULL; the name ends with it. */
void ouroi_metric_family(struct ouroi_writer *writer, const char *name, const char *type, const char *unit,
                         const char *help);
/* A family of one sample without labels. Of a counter the sample's name is the family's and "_total". */
void ouroi_metric_counter(struct ouroi_writer *writer, const char *name, const char *unit, const char *help,
                          uint64_t value);
void ouroi_metric_gauge(struct ouroi_writer *writer, const char *name, const char *unit, const char *help,
                        uint64_t value);

/* What a layer above adds to both formats: members of the outermost JSON object; whole families. */
struct ouroi_stats_section {
    void (*json)(struct ouroi_writer *writer);
    void (*metrics)(struct ouroi_writer *writer);
    struct ouroi_stats_section *next;
};
void ouroi_stats_add_section(struct ouroi_stats_section *section);

/* The page: where a reader of this process's memory finds everything. The tool reads that as `ouro top`, and the process has
 * no part in it. An ELF note (owner OUROI_NOTE_OWNER, type OUROI_NOTE_PAGE) in the library's, or a static program's, image
 * says how far from its descriptor the page is; so stripped programs, too, can be read. Any change of what is
 * here, in the views, or in struct ouroi_gc_figures is a new version. */
#define OUROI_NOTE_OWNER "Ouroboros"
#define OUROI_NOTE_PAGE 1
#define OUROI_PAGE_MAGIC 0x656761706f72756fu /* "ouropage" */
#define OUROI_PAGE_VERSION 1
struct ouroi_page {
    uint64_t magic; /* 0: the library has not started */
    uint32_t version, bytes;
    char lib[16], lib_version[16];
    struct ouroi_arena_view arena;
    struct ouroi_pool_view pool;
    struct ouroi_heap_view heap;
    uint64_t gc_figures, gc_totals; /* of struct ouroi_gc_figures, ouro_gc_stats[3]; 0: no collector */
    uint64_t duration_classes, generations;
};
extern struct ouroi_page ouroi_page OUROI_HIDDEN;

/* 0 or -1 and errno. */
int ouroi_stats_write(int fd, void (*write_all)(struct ouroi_writer *writer));

#endif
