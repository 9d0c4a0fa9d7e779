/* trace/snapshot_internal.h: what the files of a snapshot share.
 *
 * A snapshot is built in three ways (finish, load, filter) and read-only from then on, but for what is found out lazily:
 * places, names, statistics. Addresses are those of the process that was traced, which need not be this one: 64 bits
 * always.
 */
#ifndef OUROI_TRACE_SNAPSHOT_INTERNAL_H
#define OUROI_TRACE_SNAPSHOT_INTERNAL_H

#include "trace/snapshot.h"

#include "os/os.h"

enum {
    OUROI_BUILD_ID_MAX = 64,
    OUROI_FRAMES_MAX = 1 << 20, /* of a traceback that is loaded */
};

/* Memory that is freed as a whole: chunks mapped from the OS, filled from the bottom (store.c). */
struct ouroi_store {
    struct ouroi_store_chunk *chunks; /* the newest first */
    size_t used, next_bytes;
};
/* Zero memory, aligned to 8. NULL: none left. */
void *ouroi_store_alloc(struct ouroi_store *store, size_t bytes);
/* The same for `count` items; NULL also where the product overflows. */
void *ouroi_store_array(struct ouroi_store *store, size_t count, size_t item_bytes);
void ouroi_store_free(struct ouroi_store *store);

/* An array that grows, in a mapping of its own. */
struct ouroi_array {
    void *items;
    size_t count, room; /* room: in bytes */
};
/* Room for `more` items after `count`. 0 or -ENOMEM. */
int ouroi_array_reserve(struct ouroi_array *array, size_t more, size_t item_bytes);
void ouroi_array_free(struct ouroi_array *array);

/* A hash table of numbers, open addressing; what they are numbers of is the user's. */
struct ouroi_index_slot {
    uint32_t hash, number; /* number + 1; 0: empty */
};
struct ouroi_index {
    struct ouroi_index_slot *slots;
    size_t mask, used, bytes;
};
/* Makes room for one more; 0 or -ENOMEM. */
int ouroi_index_reserve(struct ouroi_index *index);
void ouroi_index_free(struct ouroi_index *index);
/* The slot that holds the number of an equal key, or the empty one where it goes (number 0, then ouroi_index_put). To be
 * called after ouroi_index_reserve. */
OUROI_INLINE struct ouroi_index_slot *ouroi_index_find(const struct ouroi_index *index, uint64_t hash,
                                                       bool (*same)(const void *with, uint32_t number, const void *key),
                                                       const void *with, const void *key)
{
    uint32_t short_hash = (uint32_t)(hash >> 32);
    for (size_t i = short_hash & index->mask;; i = (i + 1) & index->mask) {
        struct ouroi_index_slot *slot = &index->slots[i];
        if (slot->number == 0 || (slot->hash == short_hash && same(with, slot->number - 1, key)))
            return slot;
    }
}
OUROI_INLINE void ouroi_index_put(struct ouroi_index *index, struct ouroi_index_slot *slot, uint64_t hash,
                                  uint32_t number)
{
    slot->hash = (uint32_t)(hash >> 32);
    slot->number = number + 1;
    index->used++;
}

/* Mixes `value` into a hash whose upper half is good (the finalizer of SplitMix). */
OUROI_INLINE uint64_t ouroi_hash_mix(uint64_t hash, uint64_t value)
{
    uint64_t z = (hash ^ value) + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
uint64_t ouroi_hash_bytes(const void *bytes, size_t count);

/* Strings, each once: equal strings have equal addresses within a snapshot. */
struct ouroi_strings {
    struct ouroi_index index;
    struct ouroi_array items; /* of const char * */
};

/* A module: a program, a shared object, the vdso. */
struct ouroi_module {
    const char *path, *name; /* name: the path's last part */
    uint64_t bias;           /* addresses less those in its file */
    uint8_t build_id[OUROI_BUILD_ID_MAX];
    uint32_t build_id_bytes;
    uint64_t identity; /* a hash of build-id and name, for comparing */
    bool main;
    bool looked;                    /* for symbols */
    bool functions, lines, inlined; /* names of that kind were found (for pprof) */
    struct ouroi_symbols *symbols;  /* NULL: none */
};

struct ouroi_segment {
    uint64_t start, end, file_offset;
    uint32_t module, flags; /* flags: PF_R, PF_W, PF_X */
};

/* What is known of a frame's address. */
struct ouroi_place {
    uint32_t module;     /* OUROI_NO_MODULE */
    uint32_t first_name; /* the innermost */
    uint32_t names;      /* 0: not looked up yet */
    uint32_t own;        /* of the names, from the innermost: of this library's headers, or to be passed over */
    bool ours;           /* code of this library */
};
#define OUROI_NO_MODULE UINT32_MAX

struct ouroi_name {
    const char *function, *file;
    unsigned line;
};

/* Blocks with one traceback and type. */
struct ouroi_trace {
    uint64_t size, count;
    uint64_t first; /* in frames */
    uint32_t frames, type;
};
#define OUROI_NO_TYPE UINT32_MAX

/* Files whose frames are passed over. */
struct ouroi_skip {
    struct ouroi_skip *next;
    const char *glob;
};

struct ouroi_statistics {
    ouro_trace_stat *stats;
    size_t count;
    bool done;
};

struct ouro_snapshot {
    struct ouroi_store store;
    struct ouroi_strings strings;

    const char *program, *machine;
    uint64_t time_ns, pid, sample_bytes;
    uint32_t max_frames;
    uint32_t address_bytes;
    bool live;                           /* the modules are this process's */
    uint64_t library_start, library_end; /* code of this library */
    uint64_t size, count;                /* of all traces */

    struct ouroi_module *modules;
    size_t module_count;
    struct ouroi_segment *segments; /* sorted by start */
    size_t segment_count;
    uint64_t *addresses; /* each once */
    struct ouroi_place *places;
    size_t address_count;
    const char **types;
    size_t type_count;
    struct ouroi_trace *traces;
    size_t trace_count;
    uint32_t *frames; /* numbers of addresses, innermost first */
    size_t frame_count;

    /* Between begin and finish: records one after the other in chunks, see snapshot.c. */
    struct ouroi_raw *raw_first, *raw_last;
    struct ouroi_array type_list; /* of const char * */
    struct ouroi_index type_index;

    /* Found out when asked for. */
    bool places_known, named;
    const char *symbol_path;
    struct ouroi_skip *skips;
    struct ouroi_array names; /* of struct ouroi_name */
    struct ouroi_index address_index;
    struct ouroi_statistics statistics[OURO_BY_TRACEBACK + 1];
};

/* snapshot.c */
ouro_snapshot *ouroi_snapshot_new(void);
const char *ouroi_snapshot_string(ouro_snapshot *snapshot, const char *text); /* NULL: no memory */
const char *ouroi_snapshot_string_bytes(ouro_snapshot *snapshot, const char *text, size_t bytes);
/* Makes an address be found by the next; 0, -EEXIST where another number has the same address, -ENOMEM. */
int ouroi_snapshot_index_address(ouro_snapshot *snapshot, uint32_t number);
/* The number of an address; 0, -ENOENT or -ENOMEM. */
int ouroi_snapshot_find_address(ouro_snapshot *snapshot, uint64_t address, uint32_t *number);

/* modules.c */
int ouroi_modules_read(ouro_snapshot *snapshot);
/* Sorts the segments, and hashes the modules' identities; for all that make modules. */
void ouroi_modules_ready(ouro_snapshot *snapshot);
uint32_t ouroi_modules_find(const ouro_snapshot *snapshot, uint64_t address);

/* names.c. 0 or -ENOMEM. */
int ouroi_names_places(ouro_snapshot *snapshot);
int ouroi_names_of(ouro_snapshot *snapshot, uint32_t address);
/* The first frame of a trace that is outside of this library's code; trace->frames where there is none. Places are
 * known. */
uint32_t ouroi_names_first_outside(const ouro_snapshot *snapshot, const struct ouroi_trace *trace);
/* What a trace is told by: the first frame outside of this library, its headers too, and its name there. *address:
 * OUROI_NO_ADDRESS where there is none. 0 or -ENOMEM. */
#define OUROI_NO_ADDRESS UINT32_MAX
int ouroi_names_lead(ouro_snapshot *snapshot, const struct ouroi_trace *trace, uint32_t *address);
/* fnmatch; a glob without a slash also against the file's last part. */
bool ouroi_names_match(const char *glob, const char *file);
/* The name of a lead, and its file: the module's where lines are unknown, or NULL. */
const struct ouroi_name *ouroi_names_of_lead(const ouro_snapshot *snapshot, uint32_t address, const char **file);
/* For tests of hostile dumps: no module's file is opened. */
extern OUROI_HIDDEN bool ouroi_names_without_files;

/* symbols.c: debug information of one module. */
struct ouroi_symbol {
    const char *function, *file; /* NULL: unknown. Live until the next look-up */
    unsigned line;
};
/* NULL: nothing is known of the module. */
struct ouroi_symbols *ouroi_symbols_open(const ouro_snapshot *snapshot, const struct ouroi_module *module);
void ouroi_symbols_close(struct ouroi_symbols *symbols);
/* Calls `found` for each function at an address of the module's file, innermost first; 0, -ENOMEM of found, or -ENOENT. */
int ouroi_symbols_find(struct ouroi_symbols *symbols, uint64_t at, int (*found)(const struct ouroi_symbol *, void *),
                       void *arg);

/* file.c: a file that is written, and appears when it is whole. Some 8 KiB. */
struct ouroi_out {
    int fd;
    int error; /* the first, negative */
    size_t used;
    uint8_t *buffer;
    char path[4096], temporary[4096]; /* temporary "": written in place */
};
/* 0 or -errno; if not 0, there is nothing to close. */
int ouroi_out_open(struct ouroi_out *out, const char *path);
void ouroi_out_put(struct ouroi_out *out, const void *bytes, size_t count);
/* Writes what is left; the file appears if there was no error, `error` included. 0 or -errno. */
int ouroi_out_close(struct ouroi_out *out, int error);

/* bytes.c: bytes in memory that grow at the end. The first error stays. */
struct ouroi_bytes {
    struct ouroi_array array;
    int error;
};
void ouroi_bytes_put(struct ouroi_bytes *bytes, const void *from, size_t count);
void ouroi_bytes_number(struct ouroi_bytes *bytes, uint64_t value); /* LEB128, as protobuf has it */
void ouroi_bytes_free(struct ouroi_bytes *bytes);

/* crc.c: CRC-32 as in gzip (ISO 3309). */
uint32_t ouroi_crc(uint32_t crc, const void *bytes, size_t count);

/* gzip.c: writes bytes as a gzip file, by zlib where the process can have it, else stored. */
void ouroi_gzip_write(struct ouroi_out *out, const uint8_t *bytes, size_t count);
extern OUROI_HIDDEN bool ouroi_gzip_stored; /* tests: as if there were no zlib */

/* load.c */
ouro_snapshot *ouroi_snapshot_parse(const uint8_t *bytes, size_t count, int *error);

#endif
