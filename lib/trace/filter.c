/* trace/filter.c: some of the traces of a snapshot, as a snapshot of its own.
 *
 * Sync        none: one thread at a time uses a snapshot.
 */
#include "trace/snapshot_internal.h"

#include <errno.h>
#include <fnmatch.h>
#include <string.h>

/* Whether the file of a frame matches, found out once for each frame. */
enum verdict { UNKNOWN, MATCHES, MATCHES_NOT };

static bool glob_matches(const char *glob, const char *file)
{
    if (fnmatch(glob, file, 0) == 0)
        return true;
    const char *slash = strrchr(file, '/');
    return strchr(glob, '/') == NULL && slash != NULL && fnmatch(glob, slash + 1, 0) == 0;
}

static int judge(ouro_snapshot *snapshot, const struct ouroi_trace *trace, const char *glob, uint8_t *verdicts,
                 bool *matches)
{
    uint32_t first = ouroi_names_first_outside(snapshot, trace);
    *matches = false;
    if (first == trace->frames)
        return 0;
    uint32_t lead = snapshot->frames[trace->first + first];
    if (verdicts[lead] == UNKNOWN) {
        int rc = ouroi_names_of(snapshot, lead);
        if (rc != 0)
            return rc;
        const struct ouroi_place *place = &snapshot->places[lead];
        const char *file = ((const struct ouroi_name *)snapshot->names.items)[place->first_name].file;
        if (file == NULL && place->module != OUROI_NO_MODULE)
            file = snapshot->modules[place->module].path;
        verdicts[lead] = file != NULL && glob_matches(glob, file) ? MATCHES : MATCHES_NOT;
    }
    *matches = verdicts[lead] == MATCHES;
    return 0;
}

/* Copies of an array and of the strings that its items begin with. */
static void *copy_items(ouro_snapshot *to, const void *from, size_t count, size_t item_bytes)
{
    void *copy = ouroi_store_array(&to->store, count, item_bytes);
    if (copy != NULL && count != 0)
        memcpy(copy, from, count * item_bytes);
    return copy;
}

static int copy_string(ouro_snapshot *to, const char **text)
{
    if (*text != NULL)
        *text = ouroi_snapshot_string(to, *text);
    return *text != NULL ? 0 : -ENOMEM;
}

/* Names that are known already are known in the copy too. */
static int copy_names(ouro_snapshot *to, const ouro_snapshot *from)
{
    if (!from->places_known)
        return 0;
    to->places = copy_items(to, from->places, from->address_count, sizeof *to->places);
    if (to->places == NULL || ouroi_array_reserve(&to->names, from->names.count, sizeof(struct ouroi_name)) != 0)
        return -ENOMEM;
    for (size_t i = 0; i < from->names.count; i++) {
        struct ouroi_name *name = &((struct ouroi_name *)to->names.items)[i];
        *name = ((const struct ouroi_name *)from->names.items)[i];
        if (copy_string(to, &name->function) != 0 || (name->file != NULL && copy_string(to, &name->file) != 0))
            return -ENOMEM;
    }
    to->names.count = from->names.count;
    to->places_known = true;
    to->named = from->named;
    return 0;
}

static int copy_modules(ouro_snapshot *to, const ouro_snapshot *from)
{
    to->modules = copy_items(to, from->modules, from->module_count, sizeof *to->modules);
    to->segments = copy_items(to, from->segments, from->segment_count, sizeof *to->segments);
    if (to->modules == NULL || to->segments == NULL)
        return -ENOMEM;
    to->segment_count = from->segment_count;
    for (size_t i = 0; i < from->module_count; i++) {
        struct ouroi_module *module = &to->modules[i];
        module->symbols = NULL;
        module->looked = false;
        if (copy_string(to, &module->path) != 0)
            return -ENOMEM;
    }
    to->module_count = from->module_count;
    ouroi_modules_ready(to);
    return 0;
}

/* All but the traces. */
static int copy_frame(ouro_snapshot *to, const ouro_snapshot *from)
{
    to->program = from->program;
    to->machine = from->machine;
    to->symbol_path = from->symbol_path;
    to->time_ns = from->time_ns;
    to->pid = from->pid;
    to->sample_bytes = from->sample_bytes;
    to->max_frames = from->max_frames;
    to->address_bytes = from->address_bytes;
    to->live = from->live;
    to->library_start = from->library_start;
    to->library_end = from->library_end;
    to->addresses = copy_items(to, from->addresses, from->address_count, sizeof *to->addresses);
    to->types = copy_items(to, from->types, from->type_count, sizeof *to->types);
    if (copy_string(to, &to->program) != 0 || copy_string(to, &to->machine) != 0 || to->addresses == NULL ||
        to->types == NULL || (to->symbol_path != NULL && copy_string(to, &to->symbol_path) != 0))
        return -ENOMEM;
    to->address_count = from->address_count;
    to->type_count = from->type_count;
    for (size_t i = 0; i < from->type_count; i++) {
        if (copy_string(to, &to->types[i]) != 0)
            return -ENOMEM;
    }
    int rc = copy_modules(to, from);
    return rc != 0 ? rc : copy_names(to, from);
}

static int copy_traces(ouro_snapshot *to, const ouro_snapshot *from, const uint8_t *chosen)
{
    size_t traces = 0, frames = 0;
    for (size_t i = 0; i < from->trace_count; i++) {
        traces += chosen[i];
        frames += chosen[i] ? from->traces[i].frames : 0;
    }
    to->traces = ouroi_store_array(&to->store, traces, sizeof *to->traces);
    to->frames = ouroi_store_array(&to->store, frames, sizeof *to->frames);
    if (to->traces == NULL || to->frames == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < from->trace_count; i++) {
        struct ouroi_trace trace = from->traces[i];
        if (!chosen[i])
            continue;
        memcpy(&to->frames[to->frame_count], &from->frames[trace.first], trace.frames * sizeof *to->frames);
        trace.first = to->frame_count;
        to->frame_count += trace.frames;
        to->size += trace.size;
        to->count += trace.count;
        to->traces[to->trace_count++] = trace;
    }
    return 0;
}

/* Sets chosen[i] to whether trace i is wanted. */
static int choose(ouro_snapshot *snapshot, const char *glob, bool inclusive, uint8_t *verdicts, uint8_t *chosen)
{
    int rc = ouroi_names_places(snapshot);
    for (size_t i = 0; i < snapshot->trace_count && rc == 0; i++) {
        bool matches;
        rc = judge(snapshot, &snapshot->traces[i], glob, verdicts, &matches);
        chosen[i] = matches == inclusive;
    }
    return rc;
}

ouro_snapshot *ouro_snapshot_filter(ouro_snapshot *snapshot, const char *file_glob, bool inclusive)
{
    struct ouroi_array verdicts = { 0 }, chosen = { 0 };
    ouro_snapshot *result = NULL;
    int rc = snapshot != NULL && file_glob != NULL ? 0 : -EINVAL;
    if (rc == 0 && (ouroi_array_reserve(&verdicts, snapshot->address_count, 1) != 0 ||
                    ouroi_array_reserve(&chosen, snapshot->trace_count, 1) != 0))
        rc = -ENOMEM;
    if (rc == 0)
        rc = choose(snapshot, file_glob, inclusive, verdicts.items, chosen.items);
    if (rc == 0 && (result = ouroi_snapshot_new()) == NULL)
        rc = -ENOMEM;
    if (rc == 0)
        rc = copy_frame(result, snapshot);
    if (rc == 0)
        rc = copy_traces(result, snapshot, chosen.items);
    ouroi_array_free(&verdicts);
    ouroi_array_free(&chosen);
    if (rc == 0)
        return result;
    ouro_snapshot_free(result);
    errno = -rc;
    return NULL;
}
