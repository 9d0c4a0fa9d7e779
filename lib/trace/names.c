/* trace/names.c: what the addresses of a snapshot are called, found out when it is asked for and kept.
 *
 * Invariants  a place with names has at least one; functions are never NULL, files may be.
 *             Equal strings have equal addresses.
 * Sync        none: one thread at a time uses a snapshot.
 */
#include "heap/heap.h"
#include "trace/snapshot_internal.h"

#include <errno.h>
#include <fnmatch.h>
#include <string.h>

bool ouroi_names_without_files;

struct collecting {
    ouro_snapshot *snapshot;
    struct ouroi_module *module;
    uint32_t names;
};

/* Whether a file is one of ours that programs include: what is inlined out of it is the library. */
static bool is_own_header(const char *file)
{
    static const char *const headers[] = { "alloc.h",  "gc.h",    "memory.hpp", "object.h", "ouro.h",
                                           "ouro.hpp", "stats.h", "thread.h",   "trace.h",  "weakref.h" };
    const char *name = file != NULL ? strrchr(file, '/') : NULL;
    if (name == NULL || name - file < 5 || memcmp(name - 5, "/ouro", 5) != 0)
        return false;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        if (strcmp(name + 1, headers[i]) == 0)
            return true;
    }
    return false;
}

int ouroi_names_places(ouro_snapshot *snapshot)
{
    if (snapshot->places_known)
        return 0;
    snapshot->places = ouroi_store_array(&snapshot->store, snapshot->address_count, sizeof *snapshot->places);
    if (snapshot->places == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < snapshot->address_count; i++) {
        uint64_t address = snapshot->addresses[i];
        snapshot->places[i].module = ouroi_modules_find(snapshot, address);
        snapshot->places[i].ours = address >= snapshot->library_start && address < snapshot->library_end;
    }
    snapshot->places_known = true;
    return 0;
}

static int add_name(ouro_snapshot *snapshot, const char *function, const char *file, unsigned line)
{
    int rc = ouroi_array_reserve(&snapshot->names, 1, sizeof(struct ouroi_name));
    if (rc != 0)
        return rc;
    struct ouroi_name name = { .line = line };
    name.function = ouroi_snapshot_string(snapshot, function);
    if (file != NULL)
        name.file = ouroi_snapshot_string(snapshot, file);
    if (name.function == NULL || (file != NULL && name.file == NULL))
        return -ENOMEM;
    ((struct ouroi_name *)snapshot->names.items)[snapshot->names.count++] = name;
    return 0;
}

static int add_found(const struct ouroi_symbol *symbol, void *arg)
{
    struct collecting *collecting = arg;
    struct ouroi_module *module = collecting->module;
    int rc =
        add_name(collecting->snapshot, symbol->function != NULL ? symbol->function : "??", symbol->file, symbol->line);
    if (rc != 0)
        return rc;
    collecting->names++;
    module->functions |= symbol->function != NULL;
    module->lines |= symbol->line != 0;
    module->inlined |= collecting->names > 1;
    return 0;
}

/* MODULE+0xOFFSET, or 0xADDRESS. */
static int add_offset(ouro_snapshot *snapshot, const struct ouroi_module *module, uint64_t address)
{
    char text[512];
    if (module != NULL && module->name[0] != '\0')
        ouroi_format(text, sizeof text, "%s+0x%lx", module->name, (unsigned long)(address - module->bias));
    else
        ouroi_format(text, sizeof text, "0x%lx", (unsigned long)address);
    return add_name(snapshot, text, NULL, 0);
}

bool ouroi_names_match(const char *glob, const char *file)
{
    if (fnmatch(glob, file, 0) == 0)
        return true;
    const char *slash = strrchr(file, '/');
    return strchr(glob, '/') == NULL && slash != NULL && fnmatch(glob, slash + 1, 0) == 0;
}

/* The file that is told of a name: the module's where lines are unknown, or NULL. */
static const char *file_of(const ouro_snapshot *snapshot, const struct ouroi_place *place,
                           const struct ouroi_name *name)
{
    if (name->file != NULL || place->module == OUROI_NO_MODULE)
        return name->file;
    return snapshot->modules[place->module].path;
}

/* The names from the innermost that are ours, or to be passed over. */
static uint32_t count_own(const ouro_snapshot *snapshot, const struct ouroi_place *place)
{
    uint32_t own = 0;
    for (; own < place->names; own++) {
        const struct ouroi_name *name = &((const struct ouroi_name *)snapshot->names.items)[place->first_name + own];
        const char *file = file_of(snapshot, place, name);
        const struct ouroi_skip *skip = file != NULL ? snapshot->skips : NULL;
        while (skip != NULL && !ouroi_names_match(skip->glob, file))
            skip = skip->next;
        if (skip == NULL && !is_own_header(name->file))
            break;
    }
    return own;
}

static int find_names(ouro_snapshot *snapshot, uint32_t address)
{
    int rc = ouroi_names_places(snapshot);
    if (rc != 0 || snapshot->places[address].names != 0)
        return rc;
    struct ouroi_place *place = &snapshot->places[address];
    struct ouroi_module *module = place->module != OUROI_NO_MODULE ? &snapshot->modules[place->module] : NULL;
    snapshot->named = true;
    if (snapshot->names.count > UINT32_MAX - 4096)
        return -ENOMEM;
    uint32_t first = (uint32_t)snapshot->names.count;
    if (module != NULL && !module->looked) {
        module->looked = true;
        module->symbols = ouroi_names_without_files ? NULL : ouroi_symbols_open(snapshot, module);
    }
    struct collecting collecting = { .snapshot = snapshot, .module = module };
    rc = -ENOENT;
    if (module != NULL && module->symbols != NULL)
        rc = ouroi_symbols_find(module->symbols, snapshot->addresses[address] - module->bias, add_found, &collecting);
    if (rc != -ENOMEM && collecting.names == 0) {
        collecting.names = 1;
        rc = add_offset(snapshot, module, snapshot->addresses[address]);
    }
    if (rc == -ENOMEM) {
        snapshot->names.count = first;
        return rc;
    }
    place->first_name = first;
    place->names = collecting.names;
    place->own = count_own(snapshot, place);
    return 0;
}

/* What libdw allocates by the drop-in's malloc for it is not traced. */
int ouroi_names_of(ouro_snapshot *snapshot, uint32_t address)
{
    ouroi_trace_paused++;
    int rc = find_names(snapshot, address);
    ouroi_trace_paused--;
    return rc;
}

uint32_t ouroi_names_first_outside(const ouro_snapshot *snapshot, const struct ouroi_trace *trace)
{
    uint32_t i = 0;
    while (i < trace->frames && snapshot->places[snapshot->frames[trace->first + i]].ours)
        i++;
    return i;
}

int ouroi_names_lead(ouro_snapshot *snapshot, const struct ouroi_trace *trace, uint32_t *address)
{
    uint32_t first = ouroi_names_first_outside(snapshot, trace);
    *address = OUROI_NO_ADDRESS;
    for (uint32_t i = first; i < trace->frames; i++) {
        uint32_t next = snapshot->frames[trace->first + i];
        int rc = ouroi_names_of(snapshot, next);
        if (rc != 0)
            return rc;
        if (i == first)
            *address = next; /* if all are ours */
        if (snapshot->places[next].own < snapshot->places[next].names) {
            *address = next;
            break;
        }
    }
    return 0;
}

const struct ouroi_name *ouroi_names_of_lead(const ouro_snapshot *snapshot, uint32_t address, const char **file)
{
    const struct ouroi_place *place = &snapshot->places[address];
    const struct ouroi_name *names = snapshot->names.items;
    const struct ouroi_name *name = &names[place->first_name + (place->own < place->names ? place->own : 0)];
    *file = file_of(snapshot, place, name);
    return name;
}

size_t ouro_snapshot_symbols(ouro_snapshot *snapshot, const void *frame, ouro_trace_symbol *symbols, size_t max)
{
    uint32_t number;
    int rc = snapshot != NULL ? ouroi_snapshot_find_address(snapshot, (uintptr_t)frame, &number) : -EINVAL;
    if (rc == 0)
        rc = ouroi_names_of(snapshot, number);
    if (rc != 0) {
        errno = -rc;
        return 0;
    }
    const struct ouroi_place *place = &snapshot->places[number];
    const struct ouroi_module *module = place->module != OUROI_NO_MODULE ? &snapshot->modules[place->module] : NULL;
    const struct ouroi_name *names = snapshot->names.items;
    for (uint32_t i = 0; i < place->names && i < max; i++) {
        const struct ouroi_name *name = &names[place->first_name + i];
        symbols[i] = (ouro_trace_symbol){ .function = name->function,
                                          .file = name->file,
                                          .line = name->line,
                                          .own = place->ours || i < place->own,
                                          .module = module != NULL ? module->path : NULL,
                                          .offset = (uintptr_t)frame - (module != NULL ? module->bias : 0) };
    }
    return place->names;
}

int ouro_snapshot_skip(ouro_snapshot *snapshot, const char *file_glob)
{
    int rc = snapshot == NULL || file_glob == NULL ? EINVAL : snapshot->named ? EBUSY : 0;
    struct ouroi_skip *skip = NULL;
    if (rc == 0) {
        const char *glob = ouroi_snapshot_string(snapshot, file_glob);
        skip = glob != NULL ? ouroi_store_alloc(&snapshot->store, sizeof *skip) : NULL;
        rc = skip != NULL ? 0 : ENOMEM;
        if (rc == 0)
            *skip = (struct ouroi_skip){ snapshot->skips, glob };
    }
    if (rc != 0) {
        errno = rc;
        return -1;
    }
    snapshot->skips = skip;
    return 0;
}
