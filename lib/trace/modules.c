/* trace/modules.c: what is loaded in this process, where, and with which build-ids.
 *
 * Sync        dl_iterate_phdr holds the dynamic linker's lock while it calls us; we allocate from no heap then.
 */
#include "trace/snapshot_internal.h"

#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const char __start_ouro_text[] __attribute__((weak, visibility("hidden")));
extern const char __stop_ouro_text[] __attribute__((weak, visibility("hidden")));

struct reading {
    ouro_snapshot *snapshot;
    struct ouroi_array modules, segments;
    uint64_t own; /* an address in this library */
    int error;
};

/* The path of a loaded module, absolute if it is one. */
static const char *path_of(ouro_snapshot *snapshot, const char *name, bool main)
{
    char path[PATH_MAX + 256];
    if (main) {
        ssize_t length = readlink("/proc/self/exe", path, sizeof path);
        return length > 0 ? ouroi_snapshot_string_bytes(snapshot, path, (size_t)length)
                          : ouroi_snapshot_string(snapshot, name);
    }
    if (name[0] == '/' || strchr(name, '/') == NULL || getcwd(path, PATH_MAX) == NULL)
        return ouroi_snapshot_string(snapshot, name);
    size_t used = strlen(path);
    if (name[0] == '.' && name[1] == '/')
        name += 2;
    ouroi_format(path + used, sizeof path - used, "/%s", name);
    return ouroi_snapshot_string(snapshot, path);
}

/* The build-id among the notes at [at, end), if it is there. */
static void find_build_id(const uint8_t *at, const uint8_t *end, size_t alignment, struct ouroi_module *module)
{
    ElfW(Nhdr) note;
    if (alignment != 8)
        alignment = 4;
    while ((size_t)(end - at) >= sizeof note) {
        memcpy(&note, at, sizeof note);
        const uint8_t *name = at + sizeof note;
        size_t name_bytes = ouroi_align_up(note.n_namesz, alignment), desc = ouroi_align_up(note.n_descsz, alignment);
        if (name_bytes > (size_t)(end - name) || desc > (size_t)(end - name) - name_bytes)
            return;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(name, "GNU", 4) == 0 &&
            note.n_descsz <= OUROI_BUILD_ID_MAX) {
            memcpy(module->build_id, name + name_bytes, note.n_descsz);
            module->build_id_bytes = note.n_descsz;
            return;
        }
        at = name + name_bytes + desc;
    }
}

static bool is_loaded(const struct dl_phdr_info *object, uint64_t start, uint64_t bytes)
{
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        if (header->p_type == PT_LOAD && (header->p_flags & PF_R) != 0 && start >= header->p_vaddr &&
            bytes <= header->p_filesz && start - header->p_vaddr <= header->p_filesz - bytes)
            return true;
    }
    return false;
}

static int add_segment(struct reading *reading, const struct dl_phdr_info *object, const ElfW(Phdr) * header)
{
    int rc = ouroi_array_reserve(&reading->segments, 1, sizeof(struct ouroi_segment));
    if (rc != 0)
        return rc;
    struct ouroi_segment segment = { .start = object->dlpi_addr + header->p_vaddr,
                                     .file_offset = header->p_offset,
                                     .module = (uint32_t)reading->modules.count,
                                     .flags = header->p_flags };
    segment.end = segment.start + header->p_memsz;
    ((struct ouroi_segment *)reading->segments.items)[reading->segments.count++] = segment;
    if (reading->own >= segment.start && reading->own < segment.end && reading->snapshot->library_end == 0) {
        reading->snapshot->library_start = segment.start;
        reading->snapshot->library_end = segment.end;
    }
    return 0;
}

static int read_module(struct dl_phdr_info *object, size_t size, void *arg)
{
    (void)size;
    struct reading *reading = arg;
    bool main = reading->modules.count == 0 && object->dlpi_name[0] == '\0';
    struct ouroi_module module = { .bias = object->dlpi_addr, .main = main };
    module.path = path_of(reading->snapshot, object->dlpi_name, main);
    reading->error =
        module.path == NULL ? -ENOMEM : ouroi_array_reserve(&reading->modules, 1, sizeof(struct ouroi_module));
    for (size_t i = 0; i < object->dlpi_phnum && reading->error == 0; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        if (header->p_type == PT_LOAD)
            reading->error = add_segment(reading, object, header);
        else if (header->p_type == PT_NOTE && module.build_id_bytes == 0 &&
                 is_loaded(object, header->p_vaddr, header->p_filesz)) {
            uintptr_t notes = (uintptr_t)(object->dlpi_addr + header->p_vaddr);
            find_build_id((const uint8_t *)notes, (const uint8_t *)(notes + header->p_filesz), header->p_align,
                          &module);
        }
    }
    if (reading->error != 0)
        return 1;
    ((struct ouroi_module *)reading->modules.items)[reading->modules.count++] = module;
    return 0;
}

int ouroi_modules_read(ouro_snapshot *snapshot)
{
    struct reading reading = { .snapshot = snapshot, .own = (uintptr_t)ouroi_modules_read };
    /* In an archive the library's instructions are a section of the program; else they are a segment of a shared object. */
    if (reading.own >= (uintptr_t)__start_ouro_text && reading.own < (uintptr_t)__stop_ouro_text) {
        snapshot->library_start = (uintptr_t)__start_ouro_text;
        snapshot->library_end = (uintptr_t)__stop_ouro_text;
    }
    dl_iterate_phdr(read_module, &reading);
    size_t modules = reading.modules.count, segments = reading.segments.count;
    if (reading.error == 0) {
        snapshot->modules = ouroi_store_array(&snapshot->store, modules, sizeof *snapshot->modules);
        snapshot->segments = ouroi_store_array(&snapshot->store, segments, sizeof *snapshot->segments);
        if (snapshot->modules == NULL || snapshot->segments == NULL)
            reading.error = -ENOMEM;
    }
    if (reading.error == 0 && modules != 0) {
        memcpy(snapshot->modules, reading.modules.items, modules * sizeof *snapshot->modules);
        memcpy(snapshot->segments, reading.segments.items, segments * sizeof *snapshot->segments);
        snapshot->module_count = modules;
        snapshot->segment_count = segments;
        snapshot->program = snapshot->modules[0].path;
        ouroi_modules_ready(snapshot);
    }
    ouroi_array_free(&reading.modules);
    ouroi_array_free(&reading.segments);
    return reading.error;
}

static void sift_down(struct ouroi_segment *items, size_t root, size_t count)
{
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && items[child + 1].start > items[child].start)
            child++;
        if (items[root].start >= items[child].start)
            return;
        struct ouroi_segment swap = items[root];
        items[root] = items[child];
        items[child] = swap;
    }
}

/* Heapsort: libc's qsort may allocate. */
static void sort_segments(struct ouroi_segment *items, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(items, i, count);
    for (size_t end = count; end-- > 1;) {
        struct ouroi_segment swap = items[0];
        items[0] = items[end];
        items[end] = swap;
        sift_down(items, 0, end);
    }
}

void ouroi_modules_ready(ouro_snapshot *snapshot)
{
    sort_segments(snapshot->segments, snapshot->segment_count);
    for (size_t i = 0; i < snapshot->module_count; i++) {
        struct ouroi_module *module = &snapshot->modules[i];
        const char *slash = strrchr(module->path, '/');
        module->name = slash != NULL ? slash + 1 : module->path;
        module->identity = module->build_id_bytes != 0 ? ouroi_hash_bytes(module->build_id, module->build_id_bytes)
                                                       : ouroi_hash_bytes(module->name, strlen(module->name));
    }
}

uint32_t ouroi_modules_find(const ouro_snapshot *snapshot, uint64_t address)
{
    size_t low = 0, high = snapshot->segment_count; /* the last that starts at or below address is in [low, high) */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (snapshot->segments[middle].start <= address)
            low = middle;
        else
            high = middle;
    }
    if (snapshot->segment_count == 0)
        return OUROI_NO_MODULE;
    const struct ouroi_segment *segment = &snapshot->segments[low];
    return address >= segment->start && address < segment->end ? segment->module : OUROI_NO_MODULE;
}
