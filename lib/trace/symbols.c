/* trace/symbols.c: functions, files and lines of one module, by libdw.
 *
 * libdw's own search for the scopes of an address goes through the whole unit each time. So the units' ranges are listed
 * and sorted when the module is opened, the functions' of a unit when it is first met; an address is two binary searches,
 * and a walk down one function for what was inlined there. So with the symbol table.
 *
 * A module's file is found by its build-id where it has one, and is no other than that: see candidates. Which file holds
 * its debug information is libdwfl's business (.gnu_debuglink, build-id). Files are opened that a snapshot names, which
 * may come from anywhere: regular files that begin as ELF programs do, and nothing is done with them but reading.
 *
 * Sync        none: belongs to one snapshot. libdw allocates by the process's malloc.
 */
#include "trace/libdw.h"
#include "trace/snapshot_internal.h"

#include <dwarf.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 64 };

struct unit {
    Dwarf_Die die, inner; /* inner: that of the .dwo file, or the same */
    size_t first_function, functions;
    bool read;
};

struct range {
    Dwarf_Addr start, end;
    union {
        uint32_t unit;
        size_t function; /* in functions */
    } of;
};

/* A function in the symbol table. */
struct entry {
    GElf_Addr start;
    GElf_Xword bytes; /* 0: up to the next */
    const char *name;
    unsigned rank; /* of the name, the better the higher */
};

struct ouroi_symbols {
    const struct ouroi_libdw *dw;
    Dwfl *dwfl;
    Dwfl_Module *module;
    Dwarf_Addr bias; /* libdw's addresses less the module's */
    struct ouroi_array units, unit_ranges;
    struct ouroi_array functions, function_ranges; /* functions: of Dwarf_Die */
    struct ouroi_array table; /* of struct entry, sorted by address, of one address the best name last */
    bool table_read;
    Dwfl_Callbacks callbacks;
    char *debug_path;
    char debug_path_text[1024];
    char *demangled;
    size_t demangled_bytes;
    char file[PATH_MAX];
};

static int find_no_elf(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base, char **file, Elf **elf)
{
    (void)module, (void)data, (void)name, (void)base, (void)file, (void)elf;
    return -1;
}

/* A descriptor of a regular file that is a program or shared object, or -1. */
static int open_elf(const char *path)
{
    unsigned char head[EI_NIDENT + 2];
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -1;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && pread(fd, head, sizeof head, 0) == sizeof head &&
        memcmp(head, ELFMAG, SELFMAG) == 0) {
        unsigned type = head[EI_DATA] == ELFDATA2MSB ? head[EI_NIDENT + 1] : head[EI_NIDENT];
        if (type == ET_EXEC || type == ET_DYN)
            return fd;
    }
    close(fd);
    return -1;
}

/* Reports the file at `path` as the module; false if it is not there, or another build. */
static bool try_file(struct ouroi_symbols *symbols, const struct ouroi_module *module, const char *path)
{
    const struct ouroi_libdw *dw = symbols->dw;
    int fd = open_elf(path);
    if (fd < 0)
        return false;
    symbols->dwfl = dw->dwfl_begin(&symbols->callbacks);
    symbols->module =
        symbols->dwfl != NULL ? dw->dwfl_report_elf(symbols->dwfl, module->name, path, fd, 0, true) : NULL;
    if (symbols->module == NULL)
        close(fd);
    if (symbols->dwfl != NULL)
        dw->dwfl_report_end(symbols->dwfl, NULL, NULL);
    if (symbols->module != NULL) {
        const unsigned char *bits;
        GElf_Addr at;
        int bytes = dw->dwfl_module_build_id(symbols->module, &bits, &at);
        if (module->build_id_bytes == 0 ||
            (bytes == (int)module->build_id_bytes && memcmp(bits, module->build_id, module->build_id_bytes) == 0))
            return true;
    }
    if (symbols->dwfl != NULL)
        dw->dwfl_end(symbols->dwfl);
    symbols->dwfl = NULL;
    symbols->module = NULL;
    return false;
}

/* folder/.build-id/xx/yyyy, with .debug after it and without. */
static bool try_build_id(struct ouroi_symbols *symbols, const struct ouroi_module *module, const char *folder)
{
    char path[PATH_MAX];
    size_t used = ouroi_format(path, sizeof path, "%s/.build-id/", folder);
    if (module->build_id_bytes < 2)
        return false;
    for (uint32_t i = 0; i < module->build_id_bytes; i++) {
        unsigned byte = module->build_id[i];
        used += ouroi_format(path + used, sizeof path - used, byte < 16 ? "0%x%s" : "%x%s", byte, i == 0 ? "/" : "");
    }
    ouroi_format(path + used, sizeof path - used, ".debug");
    if (try_file(symbols, module, path))
        return true;
    path[used] = '\0';
    return try_file(symbols, module, path);
}

static bool try_folder(struct ouroi_symbols *symbols, const struct ouroi_module *module, const char *folder)
{
    char path[PATH_MAX];
    if (try_build_id(symbols, module, folder))
        return true;
    ouroi_format(path, sizeof path, "%s/%s", folder, module->path);
    if (try_file(symbols, module, path))
        return true;
    ouroi_format(path, sizeof path, "%s/%s", folder, module->name);
    return try_file(symbols, module, path);
}

/* Looks for the module's file in the folders that were given, where it was, and among the system's debug files. */
static bool candidates(struct ouroi_symbols *symbols, const ouro_snapshot *snapshot, const struct ouroi_module *module)
{
    char folder[PATH_MAX];
    for (const char *at = snapshot->symbol_path; at != NULL && *at != '\0';) {
        size_t length = strcspn(at, ":");
        if (length > 0 && length < sizeof folder) {
            memcpy(folder, at, length);
            folder[length] = '\0';
            if (try_folder(symbols, module, folder))
                return true;
        }
        at += length + (at[length] == ':');
    }
    if (snapshot->live && module->main && try_file(symbols, module, "/proc/self/exe"))
        return true;
    return (module->path[0] == '/' && try_file(symbols, module, module->path)) ||
           try_build_id(symbols, module, "/usr/lib/debug");
}

static int compare_ranges(const void *a, const void *b)
{
    const struct range *one = a, *other = b;
    return one->start < other->start ? -1 : one->start > other->start;
}

static const struct range *find_range(const struct range *ranges, size_t count, Dwarf_Addr at)
{
    size_t low = 0, high = count; /* those before low start at or below */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ranges[middle].start <= at)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t back = 0; back < 8 && low > 0; back++, low--) { /* where ranges overlap: the innermost */
        if (at < ranges[low - 1].end)
            return &ranges[low - 1];
    }
    return NULL;
}

/* Adds the ranges of a DIE to the array, each with the same `range.of`. */
static int add_ranges(struct ouroi_symbols *symbols, struct ouroi_array *array, Dwarf_Die *die, struct range range)
{
    Dwarf_Addr base;
    for (ptrdiff_t at = 0; (at = symbols->dw->dwarf_ranges(die, at, &base, &range.start, &range.end)) > 0;) {
        if (range.start >= range.end)
            continue;
        int rc = ouroi_array_reserve(array, 1, sizeof range);
        if (rc != 0)
            return rc;
        ((struct range *)array->items)[array->count++] = range;
    }
    return 0;
}

static int read_units(struct ouroi_symbols *symbols, Dwarf *dwarf)
{
    const struct ouroi_libdw *dw = symbols->dw;
    Dwarf_CU *unit = NULL;
    Dwarf_Die die, inner;
    Dwarf_Half version;
    uint8_t type;
    while (dw->dwarf_get_units(dwarf, unit, &unit, &version, &type, &die, &inner) == 0) {
        if (type != DW_UT_compile && type != DW_UT_skeleton)
            continue;
        int rc = ouroi_array_reserve(&symbols->units, 1, sizeof(struct unit));
        if (rc != 0 || symbols->units.count == UINT32_MAX)
            return -ENOMEM;
        struct unit *fresh = &((struct unit *)symbols->units.items)[symbols->units.count];
        *fresh = (struct unit){ .die = die, .inner = type == DW_UT_skeleton && inner.addr != NULL ? inner : die };
        struct range range = { .of.unit = (uint32_t)symbols->units.count++ };
        rc = add_ranges(symbols, &symbols->unit_ranges, &die, range);
        if (rc != 0)
            return rc;
    }
    if (symbols->unit_ranges.count > 1)
        qsort(symbols->unit_ranges.items, symbols->unit_ranges.count, sizeof(struct range), compare_ranges);
    return 0;
}

struct ouroi_symbols *ouroi_symbols_open(const ouro_snapshot *snapshot, const struct ouroi_module *module)
{
    const struct ouroi_libdw *dw = ouroi_libdw_get();
    struct ouroi_symbols *symbols = dw != NULL ? calloc(1, sizeof *symbols) : NULL;
    if (symbols == NULL)
        return NULL;
    symbols->dw = dw;
    ouroi_format(symbols->debug_path_text, sizeof symbols->debug_path_text, ":.debug:/usr/lib/debug%s%s",
                 snapshot->symbol_path != NULL ? ":" : "", snapshot->symbol_path != NULL ? snapshot->symbol_path : "");
    symbols->debug_path = symbols->debug_path_text;
    symbols->callbacks = (Dwfl_Callbacks){ .find_elf = find_no_elf,
                                           .find_debuginfo = dw->dwfl_standard_find_debuginfo,
                                           .debuginfo_path = &symbols->debug_path };
    int saved = errno;
    if (!candidates(symbols, snapshot, module)) {
        free(symbols);
        errno = saved;
        return NULL;
    }
    Dwarf *dwarf = dw->dwfl_module_getdwarf(symbols->module, &symbols->bias);
    if (dwarf != NULL && read_units(symbols, dwarf) != 0) {
        ouroi_symbols_close(symbols);
        symbols = NULL;
    }
    errno = saved;
    return symbols;
}

void ouroi_symbols_close(struct ouroi_symbols *symbols)
{
    if (symbols == NULL)
        return;
    symbols->dw->dwfl_end(symbols->dwfl);
    ouroi_array_free(&symbols->units);
    ouroi_array_free(&symbols->unit_ranges);
    ouroi_array_free(&symbols->functions);
    ouroi_array_free(&symbols->function_ranges);
    ouroi_array_free(&symbols->table);
    free(symbols->demangled);
    free(symbols);
}

/* Lists the functions below a DIE. */
static int read_functions(struct ouroi_symbols *symbols, Dwarf_Die *parent, unsigned depth)
{
    const struct ouroi_libdw *dw = symbols->dw;
    Dwarf_Die die;
    if (depth == DEPTH_MAX || dw->dwarf_child(parent, &die) != 0)
        return 0;
    do {
        int rc = 0, tag = dw->dwarf_tag(&die);
        if (tag == DW_TAG_namespace || tag == DW_TAG_module)
            rc = read_functions(symbols, &die, depth + 1);
        if (tag == DW_TAG_subprogram) {
            size_t before = symbols->function_ranges.count;
            rc = ouroi_array_reserve(&symbols->functions, 1, sizeof die);
            struct range range = { .of.function = symbols->functions.count };
            if (rc == 0)
                rc = add_ranges(symbols, &symbols->function_ranges, &die, range);
            if (rc == 0 && symbols->function_ranges.count > before)
                ((Dwarf_Die *)symbols->functions.items)[symbols->functions.count++] = die;
        }
        if (rc != 0)
            return rc;
    } while (dw->dwarf_siblingof(&die, &die) == 0);
    return 0;
}

/* The function of a unit at an address, or NULL. */
static Dwarf_Die *find_function(struct ouroi_symbols *symbols, struct unit *unit, Dwarf_Addr at)
{
    if (!unit->read) {
        unit->read = true;
        unit->first_function = symbols->function_ranges.count;
        if (read_functions(symbols, &unit->inner, 0) != 0)
            return NULL;
        unit->functions = symbols->function_ranges.count - unit->first_function;
        if (unit->functions > 1)
            qsort((struct range *)symbols->function_ranges.items + unit->first_function, unit->functions,
                  sizeof(struct range), compare_ranges);
    }
    const struct range *ranges = symbols->function_ranges.items;
    if (unit->functions == 0)
        return NULL;
    const struct range *range = find_range(ranges + unit->first_function, unit->functions, at);
    return range != NULL ? &((Dwarf_Die *)symbols->functions.items)[range->of.function] : NULL;
}

/* Writes the inlined functions at an address below `function`, outermost first; returns how many. */
static unsigned find_inlined(const struct ouroi_libdw *dw, const Dwarf_Die *function, Dwarf_Addr at, Dwarf_Die *inlined)
{
    Dwarf_Die parent = *function, die;
    unsigned count = 0;
    for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
        bool down = false;
        if (dw->dwarf_child(&parent, &die) != 0)
            break;
        do {
            int tag = dw->dwarf_tag(&die);
            down = (tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block || tag == DW_TAG_try_block ||
                    tag == DW_TAG_catch_block) &&
                   dw->dwarf_haspc(&die, at) > 0;
            if (down && tag == DW_TAG_inlined_subroutine)
                inlined[count++] = die;
        } while (!down && dw->dwarf_siblingof(&die, &die) == 0);
        if (!down)
            break;
        parent = die;
    }
    return count;
}

static const char *demangle(struct ouroi_symbols *symbols, const char *name)
{
    int status;
    if (symbols->dw->demangle == NULL || name[0] != '_' || name[1] != 'Z')
        return name;
    char *got = symbols->dw->demangle(name, symbols->demangled, &symbols->demangled_bytes, &status);
    if (got != NULL)
        symbols->demangled = got;
    return got != NULL ? got : name;
}

static const char *name_of(struct ouroi_symbols *symbols, Dwarf_Die *die)
{
    const struct ouroi_libdw *dw = symbols->dw;
    Dwarf_Attribute attribute;
    const char *name = NULL;
    if (dw->dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute) != NULL ||
        dw->dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attribute) != NULL)
        name = dw->dwarf_formstring(&attribute);
    if (name != NULL && name[0] == '_' && name[1] == 'Z')
        return demangle(symbols, name);
    return dw->dwarf_attr_integrate(die, DW_AT_name, &attribute) != NULL ? dw->dwarf_formstring(&attribute) : NULL;
}

/* The path as it is from the folder that the compiler ran in, without `.`, `..` and doubled slashes, by its text alone.
 * Where that folder is not known by its whole path (Debian's libc), as it is. */
static const char *tidy(struct ouroi_symbols *symbols, struct unit *unit, const char *path)
{
    const struct ouroi_libdw *dw = symbols->dw;
    char whole[PATH_MAX], *out = symbols->file;
    Dwarf_Attribute attribute;
    size_t used = 0;
    if (path == NULL || strlen(path) + 1 >= sizeof symbols->file)
        return path;
    if (path[0] != '/') {
        const char *folder = dw->dwarf_attr_integrate(&unit->die, DW_AT_comp_dir, &attribute) != NULL
                                 ? dw->dwarf_formstring(&attribute)
                                 : NULL;
        if (folder == NULL || folder[0] != '/' || strlen(folder) + strlen(path) + 2 > sizeof whole)
            return strcpy(out, path);
        ouroi_format(whole, sizeof whole, "%s/%s", folder, path);
        path = whole;
    }
    while (*path != '\0') {
        path += strspn(path, "/");
        size_t length = strcspn(path, "/");
        if (length == 2 && path[0] == '.' && path[1] == '.') {
            while (used > 0 && out[--used] != '/')
                ;
        } else if (length > 0 && !(length == 1 && path[0] == '.')) {
            out[used++] = '/';
            memcpy(out + used, path, length);
            used += length;
        }
        path += length;
    }
    out[used] = '\0';
    return out;
}

static unsigned number_of(const struct ouroi_libdw *dw, Dwarf_Die *die, unsigned attribute_name)
{
    Dwarf_Attribute attribute;
    Dwarf_Word value;
    if (dw->dwarf_attr(die, attribute_name, &attribute) == NULL || dw->dwarf_formudata(&attribute, &value) != 0)
        return 0;
    return value <= INT_MAX ? (unsigned)value : 0;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *one = a, *other = b;
    if (one->start != other->start)
        return one->start < other->start ? -1 : 1;
    if (one->rank != other->rank)
        return one->rank < other->rank ? -1 : 1;
    return strcmp(other->name, one->name);
}

/* Of the names of one function, that which others call: exported, and with fewer underscores before it. */
static unsigned rank_of(const char *name, const GElf_Sym *symbol)
{
    size_t underscores = strspn(name, "_");
    bool mangled = underscores == 1 && name[1] == 'Z';
    unsigned rank = underscores > 3 || mangled ? 0 : 3 - (unsigned)underscores;
    if (GELF_ST_BIND(symbol->st_info) != STB_LOCAL)
        rank += 4;
    return symbol->st_size != 0 ? rank + 8 : rank;
}

/* libdw's own search goes through the whole symbol table each time. */
static void read_table(struct ouroi_symbols *symbols)
{
    const struct ouroi_libdw *dw = symbols->dw;
    int count = dw->dwfl_module_getsymtab(symbols->module);
    symbols->table_read = true;
    for (int i = 1; i < count; i++) {
        GElf_Sym symbol;
        GElf_Addr start;
        GElf_Word section;
        const char *name = dw->dwfl_module_getsym_info(symbols->module, i, &symbol, &start, &section, NULL, NULL);
        unsigned type = GELF_ST_TYPE(symbol.st_info);
        if (name == NULL || name[0] == '\0' || section == SHN_UNDEF || section == SHN_ABS ||
            (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE))
            continue;
        if (ouroi_array_reserve(&symbols->table, 1, sizeof(struct entry)) != 0)
            break;
        ((struct entry *)symbols->table.items)[symbols->table.count++] =
            (struct entry){ start, symbol.st_size, name, rank_of(name, &symbol) };
    }
    if (symbols->table.count > 1)
        qsort(symbols->table.items, symbols->table.count, sizeof(struct entry), compare_entries);
}

/* The symbol table's name, if the address is in what it names. */
static const char *table_name(struct ouroi_symbols *symbols, uint64_t at)
{
    if (!symbols->table_read)
        read_table(symbols);
    const struct entry *entries = symbols->table.items, *nearest;
    size_t low = 0, high = symbols->table.count; /* those before low start at or below */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (entries[middle].start <= at)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    nearest = &entries[low - 1];
    for (size_t back = 0; back < 16 && low > 0; back++, low--) {
        if (at - entries[low - 1].start < entries[low - 1].bytes)
            return demangle(symbols, entries[low - 1].name);
    }
    return nearest->bytes == 0 ? demangle(symbols, nearest->name) : NULL;
}

int ouroi_symbols_find(struct ouroi_symbols *symbols, uint64_t at, int (*found)(const struct ouroi_symbol *, void *),
                       void *arg)
{
    const struct ouroi_libdw *dw = symbols->dw;
    Dwarf_Addr inside = at - symbols->bias;
    const struct range *range = find_range(symbols->unit_ranges.items, symbols->unit_ranges.count, inside);
    struct unit *unit = range != NULL ? &((struct unit *)symbols->units.items)[range->of.unit] : NULL;
    Dwarf_Line *row = unit != NULL ? dw->dwarf_getsrc_die(&unit->die, inside) : NULL;
    Dwarf_Die *function = unit != NULL ? find_function(symbols, unit, inside) : NULL;
    struct ouroi_symbol symbol = { 0 };
    int line = 0;
    if (row != NULL && dw->dwarf_lineno(row, &line) == 0) {
        symbol.file = tidy(symbols, unit, dw->dwarf_linesrc(row, NULL, NULL));
        symbol.line = symbol.file != NULL && line > 0 ? (unsigned)line : 0;
    }
    if (function == NULL) {
        symbol.function = table_name(symbols, at);
        return symbol.function != NULL || symbol.file != NULL ? found(&symbol, arg) : -ENOENT;
    }
    Dwarf_Die inlined[DEPTH_MAX];
    unsigned count = find_inlined(dw, function, inside, inlined);
    for (unsigned i = count; i-- > 0;) {
        symbol.function = name_of(symbols, &inlined[i]);
        int rc = found(&symbol, arg);
        if (rc != 0)
            return rc;
        Dwarf_Files *files;
        bool known = dw->dwarf_getsrcfiles(&unit->die, &files, NULL) == 0;
        unsigned file = number_of(dw, &inlined[i], DW_AT_call_file);
        symbol.file = known ? tidy(symbols, unit, dw->dwarf_filesrc(files, file, NULL, NULL)) : NULL;
        symbol.line = symbol.file != NULL ? number_of(dw, &inlined[i], DW_AT_call_line) : 0;
    }
    symbol.function = name_of(symbols, function);
    if (symbol.function == NULL)
        symbol.function = table_name(symbols, at);
    return found(&symbol, arg);
}
