/* trace/names.c: what the addresses of a snapshot are called, found out when it is asked for and kept.
 *
 * Invariants  a place with names has at least one; functions are never NULL, files may be.
 *             Equal strings have equal addresses.
 * Sync        none: one thread at a time uses a snapshot.
 */
#include "trace/snapshot_internal.h"

#include <errno.h>
#include <string.h>

bool ouroi_names_without_files;

struct collecting {
    ouro_snapshot *snapshot;
    struct ouroi_module *module;
    uint32_t names;
};

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
        snapshot->places[i].library = address >= snapshot->library_start && address < snapshot->library_end;
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

int ouroi_names_of(ouro_snapshot *snapshot, uint32_t address)
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
    return 0;
}

uint32_t ouroi_names_first_outside(const ouro_snapshot *snapshot, const struct ouroi_trace *trace)
{
    uint32_t i = 0;
    while (i < trace->frames && snapshot->places[snapshot->frames[trace->first + i]].library)
        i++;
    return i;
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
                                          .library = place->library,
                                          .module = module != NULL ? module->path : NULL,
                                          .offset = (uintptr_t)frame - (module != NULL ? module->bias : 0) };
    }
    return place->names;
}
