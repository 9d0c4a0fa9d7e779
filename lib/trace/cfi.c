/* trace/cfi.c: call frame information: for an instruction, where the caller's registers are.
 *
 * Invariants  three registers are followed: the stack pointer, the frame pointer, the return address. What cannot be said of
 *             these in terms of struct ouroi_cfi is OUROI_CFI_NONE.
 * Sync        reads what the linker mapped. _dl_find_object takes no lock; before glibc 2.35 dl_iterate_phdr, which does.
 * Source      DWARF 5, section 6.4; the Linux Standard Base on .eh_frame and .eh_frame_hdr.
 */
#include "trace/unwind.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

#if defined(__x86_64__)
enum { REGISTER_FP = 6, REGISTER_SP = 7, REGISTER_RA = 16 };
#elif defined(__aarch64__)
enum { REGISTER_FP = 29, REGISTER_SP = 31, REGISTER_RA = 30 };
#else
enum { REGISTER_FP = -1, REGISTER_SP = -2, REGISTER_RA = -3 };
#endif

enum {
    DW_CFA_advance_loc = 0x40,
    DW_CFA_offset = 0x80,
    DW_CFA_restore = 0xc0,
    DW_CFA_set_loc = 0x01,
    DW_CFA_advance_loc1 = 0x02,
    DW_CFA_advance_loc2 = 0x03,
    DW_CFA_advance_loc4 = 0x04,
    DW_CFA_offset_extended = 0x05,
    DW_CFA_restore_extended = 0x06,
    DW_CFA_undefined = 0x07,
    DW_CFA_same_value = 0x08,
    DW_CFA_register = 0x09,
    DW_CFA_remember_state = 0x0a,
    DW_CFA_restore_state = 0x0b,
    DW_CFA_def_cfa = 0x0c,
    DW_CFA_def_cfa_register = 0x0d,
    DW_CFA_def_cfa_offset = 0x0e,
    DW_CFA_def_cfa_expression = 0x0f,
    DW_CFA_expression = 0x10,
    DW_CFA_offset_extended_sf = 0x11,
    DW_CFA_def_cfa_sf = 0x12,
    DW_CFA_def_cfa_offset_sf = 0x13,
    DW_CFA_val_offset = 0x14,
    DW_CFA_val_offset_sf = 0x15,
    DW_CFA_val_expression = 0x16,
    DW_CFA_negate_ra_state = 0x2d,
    DW_CFA_GNU_args_size = 0x2e,
    DW_OP_breg0 = 0x70,
    DW_OP_deref = 0x06,
    DW_EH_PE_omit = 0xff,
    DW_EH_PE_hdr_table = 0x3b, /* relative to the header, signed, 4 bytes */
    STATES = 8,                /* remembered at once */
};

struct reader {
    const uint8_t *at, *end;
    bool bad;
};

static uint64_t read_bytes(struct reader *reader, size_t count)
{
    uint64_t value = 0;
    if ((size_t)(reader->end - reader->at) < count) {
        reader->bad = true;
        reader->at = reader->end;
        return 0;
    }
    memcpy(&value, reader->at, count);
    reader->at += count;
    return value;
}

static uint64_t read_uleb(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = (uint8_t)read_bytes(reader, 1);
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0 || reader->bad)
            return value;
    }
}

static int64_t read_sleb(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0;;) {
        uint8_t byte = (uint8_t)read_bytes(reader, 1);
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        if ((byte & 0x80) != 0 && !reader->bad)
            continue;
        if (shift < 64 && (byte & 0x40) != 0)
            value |= ~(uint64_t)0 << shift;
        return (int64_t)value;
    }
}

static void skip(struct reader *reader, uint64_t bytes)
{
    if ((uint64_t)(reader->end - reader->at) < bytes)
        reader->bad = true;
    reader->at = reader->bad ? reader->end : reader->at + bytes;
}

/* A pointer as .eh_frame encodes it: DW_EH_PE_*. */
static uint64_t read_pointer(struct reader *reader, uint8_t encoding)
{
    uintptr_t here = (uintptr_t)reader->at;
    uint64_t value;
    switch (encoding & 0x0f) {
    case 0x00:
        value = read_bytes(reader, sizeof(void *));
        break;
    case 0x01:
        value = read_uleb(reader);
        break;
    case 0x02:
        value = read_bytes(reader, 2);
        break;
    case 0x03:
        value = read_bytes(reader, 4);
        break;
    case 0x04:
        value = read_bytes(reader, 8);
        break;
    case 0x09:
        value = (uint64_t)read_sleb(reader);
        break;
    case 0x0a:
        value = (uint64_t)(int64_t)(int16_t)read_bytes(reader, 2);
        break;
    case 0x0b:
        value = (uint64_t)(int64_t)(int32_t)read_bytes(reader, 4);
        break;
    case 0x0c:
        value = read_bytes(reader, 8);
        break;
    default:
        reader->bad = true;
        return 0;
    }
    if ((encoding & 0x70) == 0x10) /* relative to itself */
        value += here;
    else if ((encoding & 0x70) != 0)
        reader->bad = true;
    return value;
}

/* What a register's value was in the caller. */
struct rule {
    enum { SAME, AT, UNDEFINED, OTHER } what;
    int64_t offset; /* AT: from the CFA */
};

struct state {
    enum { CFA_SP, CFA_FP, CFA_FP_AT, CFA_OTHER } cfa;
    int64_t cfa_offset;
    struct rule fp, ra;
};

struct program {
    uint64_t code_align, pc, target; /* the state at `target` is wanted */
    int64_t data_align;
    uint8_t encoding;
    struct state initial;
};

static struct rule *rule_of(struct state *state, uint64_t reg)
{
    return reg == (uint64_t)(int64_t)REGISTER_FP   ? &state->fp
           : reg == (uint64_t)(int64_t)REGISTER_RA ? &state->ra
                                                   : NULL;
}

static void set_rule(struct state *state, uint64_t reg, struct rule rule)
{
    struct rule *of = rule_of(state, reg);
    if (of != NULL)
        *of = rule;
}

static void set_cfa(struct state *state, uint64_t reg)
{
    state->cfa = reg == (uint64_t)(int64_t)REGISTER_SP   ? CFA_SP
                 : reg == (uint64_t)(int64_t)REGISTER_FP ? CFA_FP
                                                         : CFA_OTHER;
}

/* Of the expressions that say what the CFA is, one is of functions: *(fp + offset). */
static void set_cfa_expression(struct state *state, struct reader *reader)
{
    uint64_t length = read_uleb(reader);
    struct reader text = { reader->at, reader->at, false };
    skip(reader, length);
    text.end = reader->at;
    state->cfa = CFA_OTHER;
    if (read_bytes(&text, 1) != (uint64_t)(DW_OP_breg0 + REGISTER_FP))
        return;
    int64_t offset = read_sleb(&text);
    if (read_bytes(&text, 1) == DW_OP_deref && text.at == text.end && !text.bad) {
        state->cfa = CFA_FP_AT;
        state->cfa_offset = offset;
    }
}

/* The instructions that say where a register is. False: it is none of them. */
static bool run_register(struct program *program, struct state *state, struct reader *reader, uint8_t op)
{
    uint64_t reg;
    switch (op) {
    case DW_CFA_offset_extended:
        reg = read_uleb(reader);
        set_rule(state, reg, (struct rule){ AT, (int64_t)read_uleb(reader) * program->data_align });
        return true;
    case DW_CFA_offset_extended_sf:
        reg = read_uleb(reader);
        set_rule(state, reg, (struct rule){ AT, read_sleb(reader) * program->data_align });
        return true;
    case DW_CFA_restore_extended:
        reg = read_uleb(reader);
        if (rule_of(state, reg) != NULL)
            *rule_of(state, reg) = *rule_of(&program->initial, reg);
        return true;
    case DW_CFA_undefined:
        set_rule(state, read_uleb(reader), (struct rule){ UNDEFINED, 0 });
        return true;
    case DW_CFA_same_value:
        set_rule(state, read_uleb(reader), (struct rule){ SAME, 0 });
        return true;
    case DW_CFA_register:
    case DW_CFA_val_offset:
        set_rule(state, read_uleb(reader), (struct rule){ OTHER, 0 });
        read_uleb(reader);
        return true;
    case DW_CFA_val_offset_sf:
        set_rule(state, read_uleb(reader), (struct rule){ OTHER, 0 });
        read_sleb(reader);
        return true;
    case DW_CFA_expression:
    case DW_CFA_val_expression:
        set_rule(state, read_uleb(reader), (struct rule){ OTHER, 0 });
        skip(reader, read_uleb(reader));
        return true;
    default:
        return false;
    }
}

/* Those that say what the CFA is. */
static bool run_cfa(struct program *program, struct state *state, struct reader *reader, uint8_t op)
{
    switch (op) {
    case DW_CFA_def_cfa:
        set_cfa(state, read_uleb(reader));
        state->cfa_offset = (int64_t)read_uleb(reader);
        return true;
    case DW_CFA_def_cfa_sf:
        set_cfa(state, read_uleb(reader));
        state->cfa_offset = read_sleb(reader) * program->data_align;
        return true;
    case DW_CFA_def_cfa_register:
        set_cfa(state, read_uleb(reader));
        return true;
    case DW_CFA_def_cfa_offset:
        state->cfa_offset = (int64_t)read_uleb(reader);
        return true;
    case DW_CFA_def_cfa_offset_sf:
        state->cfa_offset = read_sleb(reader) * program->data_align;
        return true;
    case DW_CFA_def_cfa_expression:
        set_cfa_expression(state, reader);
        return true;
    default:
        return false;
    }
}

static void run(struct program *program, struct state *state, struct reader *reader)
{
    struct state remembered[STATES];
    unsigned depth = 0;
    while (reader->at < reader->end && !reader->bad) {
        uint8_t op = (uint8_t)read_bytes(reader, 1);
        uint64_t advance = 0;
        if ((op & 0xc0) == DW_CFA_advance_loc) {
            advance = op & 0x3f;
        } else if ((op & 0xc0) == DW_CFA_offset) {
            set_rule(state, op & 0x3f, (struct rule){ AT, (int64_t)read_uleb(reader) * program->data_align });
        } else if ((op & 0xc0) == DW_CFA_restore) {
            if (rule_of(state, op & 0x3f) != NULL)
                *rule_of(state, op & 0x3f) = *rule_of(&program->initial, op & 0x3f);
        } else if (op == DW_CFA_advance_loc1) {
            advance = read_bytes(reader, 1);
        } else if (op == DW_CFA_advance_loc2) {
            advance = read_bytes(reader, 2);
        } else if (op == DW_CFA_advance_loc4) {
            advance = read_bytes(reader, 4);
        } else if (op == DW_CFA_set_loc) {
            program->pc = read_pointer(reader, program->encoding);
        } else if (op == DW_CFA_remember_state) {
            reader->bad |= depth == STATES;
            if (!reader->bad)
                remembered[depth++] = *state;
        } else if (op == DW_CFA_restore_state) {
            reader->bad |= depth == 0;
            if (!reader->bad)
                *state = remembered[--depth];
        } else if (op == DW_CFA_GNU_args_size) {
            read_uleb(reader);
        } else if (op != 0 && op != DW_CFA_negate_ra_state && !run_register(program, state, reader, op) &&
                   !run_cfa(program, state, reader, op)) {
            reader->bad = true;
        }
        program->pc += advance * program->code_align;
        if (program->pc > program->target)
            return;
    }
}

/* The common part of entries, at its length. False: it cannot be read. */
static bool read_cie(const uint8_t *cie, struct program *program, struct state *state, bool *has_data, bool *signal)
{
    uint32_t length;
    memcpy(&length, cie, sizeof length);
    if (length == 0 || length == UINT32_MAX)
        return false;
    struct reader reader = { cie + 4, cie + 4 + length, false };
    uint64_t id = read_bytes(&reader, 4), version = read_bytes(&reader, 1);
    const char *augmentation = (const char *)reader.at;
    if (id != 0 || (version != 1 && version != 3) || memchr(augmentation, 0, (size_t)(reader.end - reader.at)) == NULL)
        return false;
    skip(&reader, strlen(augmentation) + 1);
    program->code_align = read_uleb(&reader);
    program->data_align = read_sleb(&reader);
    uint64_t ra = version == 1 ? read_bytes(&reader, 1) : read_uleb(&reader);
    program->encoding = 0;
    *has_data = augmentation[0] == 'z';
    *signal = false;
    if (*has_data) {
        uint64_t bytes = read_uleb(&reader);
        struct reader data = reader;
        skip(&reader, bytes);
        data.end = reader.at;
        for (const char *letter = augmentation + 1; *letter != '\0'; letter++) {
            if (*letter == 'R')
                program->encoding = (uint8_t)read_bytes(&data, 1);
            else if (*letter == 'P')
                read_pointer(&data, (uint8_t)read_bytes(&data, 1) & 0x7f);
            else if (*letter == 'L')
                read_bytes(&data, 1);
            else if (*letter == 'S')
                *signal = true;
            else if (*letter != 'B') /* signed return addresses */
                return false;
        }
    } else if (augmentation[0] != '\0') {
        return false;
    }
    if (reader.bad || ra != (uint64_t)(int64_t)REGISTER_RA)
        return false;
    program->pc = 0;
    uint64_t target = program->target;
    program->target = UINT64_MAX;
    run(program, state, &reader);
    program->target = target;
    program->initial = *state;
    return !reader.bad;
}

static struct ouroi_cfi cfi_of(const struct state *state)
{
    struct ouroi_cfi cfi = { .kind = OUROI_CFI_NONE };
    if (state->ra.what == UNDEFINED) {
        cfi.kind = OUROI_CFI_END;
        return cfi;
    }
    int64_t limit = (int64_t)1 << 27, near = 1 << 15;
    if (state->cfa == CFA_OTHER || state->cfa_offset >= limit || state->cfa_offset < -limit ||
        state->ra.what == OTHER || state->ra.offset >= near || state->ra.offset < -near || state->fp.offset >= near ||
        state->fp.offset < -near)
        return cfi;
    cfi.kind = state->cfa == CFA_SP ? OUROI_CFI_SP : state->cfa == CFA_FP ? OUROI_CFI_FP : OUROI_CFI_FP_AT;
    cfi.cfa_offset = (int32_t)state->cfa_offset;
    cfi.fp_saved = state->fp.what == AT;
    cfi.fp_offset = cfi.fp_saved ? (int32_t)state->fp.offset : 0;
    cfi.ra_saved = state->ra.what == AT;
    cfi.ra_offset = cfi.ra_saved ? (int32_t)state->ra.offset : 0;
    return cfi;
}

/* The entry at `fde`, if it is of `pc`. */
static struct ouroi_cfi read_fde(const uint8_t *fde, uintptr_t pc)
{
    struct ouroi_cfi none = { .kind = OUROI_CFI_NONE };
    uint32_t length;
    memcpy(&length, fde, sizeof length);
    if (length == 0 || length == UINT32_MAX)
        return none;
    struct reader reader = { fde + 4, fde + 4 + length, false };
    uint32_t back = (uint32_t)read_bytes(&reader, 4);
    struct program program = { .target = pc };
    struct state state = { .cfa = CFA_OTHER };
    bool has_data, signal;
    if (back == 0 || !read_cie(fde + 4 - back, &program, &state, &has_data, &signal))
        return none;
    uint64_t begin = read_pointer(&reader, program.encoding);
    uint64_t bytes = read_pointer(&reader, program.encoding & 0x0f);
    if (has_data)
        skip(&reader, read_uleb(&reader));
    if (reader.bad || pc < begin || pc - begin >= bytes)
        return none;
    if (signal)
        return (struct ouroi_cfi){ .kind = OUROI_CFI_SIGNAL };
    program.pc = begin;
    run(&program, &state, &reader);
    return reader.bad ? none : cfi_of(&state);
}

/* Searches the sorted table of .eh_frame_hdr. */
static struct ouroi_cfi search(const uint8_t *header, uintptr_t pc)
{
    struct ouroi_cfi none = { .kind = OUROI_CFI_NONE };
    struct reader reader = { header, header + 64, false };
    uint64_t version = read_bytes(&reader, 1), frame_encoding = read_bytes(&reader, 1);
    uint64_t count_encoding = read_bytes(&reader, 1), table_encoding = read_bytes(&reader, 1);
    if (version != 1 || count_encoding == DW_EH_PE_omit || table_encoding != DW_EH_PE_hdr_table)
        return none;
    read_pointer(&reader, (uint8_t)frame_encoding);
    uint64_t count = read_pointer(&reader, (uint8_t)count_encoding);
    if (reader.bad)
        return none;
    struct entry {
        int32_t pc, fde;
    } entry;
    const uint8_t *table = reader.at;
    int64_t offset = (int64_t)(pc - (uintptr_t)header);
    size_t low = 0, high = count; /* the last entry that does not begin after pc is in [low - 1, high) */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        memcpy(&entry, table + middle * sizeof entry, sizeof entry);
        if (entry.pc <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return none;
    memcpy(&entry, table + (low - 1) * sizeof entry, sizeof entry);
    return read_fde(header + entry.fde, pc);
}

#ifdef DLFO_STRUCT_HAS_EH_DBASE
extern int _dl_find_object(void *address, struct dl_find_object *result) __attribute__((weak));
#endif

struct find_header {
    uintptr_t pc;
    const uint8_t *header;
};

static int look_at_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct find_header *find = arg;
    const uint8_t *header = NULL;
    bool inside = false;
    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *phdr = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + phdr->p_vaddr;
        if (phdr->p_type == PT_GNU_EH_FRAME)
            header = (const uint8_t *)start;
        else if (phdr->p_type == PT_LOAD)
            inside |= find->pc - start < phdr->p_memsz;
    }
    if (inside)
        find->header = header;
    return inside;
}

static const uint8_t *find_header(uintptr_t pc)
{
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    struct dl_find_object object;
    if (_dl_find_object != NULL)
        return _dl_find_object((void *)pc, &object) == 0 ? object.dlfo_eh_frame : NULL;
#endif
    struct find_header find = { pc, NULL };
    dl_iterate_phdr(look_at_object, &find);
    return find.header;
}

struct ouroi_cfi ouroi_cfi_find(uintptr_t pc)
{
    const uint8_t *header = find_header(pc);
    if (header == NULL)
        return (struct ouroi_cfi){ .kind = OUROI_CFI_NONE };
    return search(header, pc);
}
