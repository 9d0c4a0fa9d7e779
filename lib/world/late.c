/* world/late.c: the lines on stderr about a thread that holds up a stop of the world: its name, what it does, and the calls
 * that it is in.
 *
 * Owns        tables that are filled for one warning at a time.
 * Invariants  nothing here takes a lock, of libc's dynamic linker neither, or allocates: the late thread, or one that is
 *             stopped already, may hold any of them. So symbols are read out of the files of the mapped objects, and memory
 *             through /proc/self/mem, which fails where a load would fault.
 * Sync        the stopper alone is here, while the late thread sleeps, or is kept in the signal's handler.
 *
 * A thread that sleeps is not disturbed: /proc tells its system call, stack pointer and place. One that runs is interrupted for
 * the time of the look. The calls are what looks like a return address on the stack, that is: points behind a call
 * instruction. So there may be some that have returned already.
 */
#include "world/internal.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OBJECTS_MAX = 192, PATHS_BYTES = 16384, STACK_BYTES = 16384, FRAMES_MAX = 24, CALL_BYTES = 8 };

/* Executable mappings. */
static struct object {
    uintptr_t begin, end;
    uint64_t offset;
    const char *path;
} objects[OBJECTS_MAX];
static unsigned object_count;
static char paths[PATHS_BYTES];
static size_t paths_used;
static uintptr_t stack_words[STACK_BYTES / sizeof(uintptr_t)];

static int open_to_read(const char *path)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
}

static uint64_t parse_hex(const char **at)
{
    uint64_t value = 0;
    for (;; ++*at) {
        unsigned digit;
        if (**at >= '0' && **at <= '9')
            digit = (unsigned)(**at - '0');
        else if (**at >= 'a' && **at <= 'f')
            digit = (unsigned)(**at - 'a') + 10;
        else
            return value;
        value = value << 4 | digit;
    }
}

/* A line of /proc/self/maps: begin-end rwxp offset device inode path */
static void note_mapping(const char *line)
{
    const char *at = line;
    uint64_t begin = parse_hex(&at);
    if (*at++ != '-')
        return;
    uint64_t end = parse_hex(&at);
    if (strlen(at) < 6 || at[3] != 'x' || object_count == OBJECTS_MAX)
        return;
    at += 6;
    uint64_t offset = parse_hex(&at);
    const char *path = strchr(line, '/');
    if (path == NULL)
        path = strchr(line, '[');
    size_t length = path == NULL ? 0 : strlen(path);
    if (path == NULL || length >= PATHS_BYTES - paths_used)
        return;
    memcpy(paths + paths_used, path, length + 1);
    objects[object_count++] =
        (struct object){ .begin = begin, .end = end, .offset = offset, .path = paths + paths_used };
    paths_used += length + 1;
}

static void read_mappings(void)
{
    static char line[4096];
    char text[1024];
    size_t used = 0;
    int fd = open_to_read("/proc/self/maps");
    object_count = 0;
    paths_used = 0;
    if (fd < 0)
        return;
    long n;
    while ((n = syscall(SYS_read, fd, text, sizeof text)) > 0) {
        for (long i = 0; i < n; i++) {
            if (text[i] != '\n') {
                used += used < sizeof line - 1;
                line[used - 1] = text[i];
                continue;
            }
            line[used] = '\0';
            note_mapping(line);
            used = 0;
        }
    }
    syscall(SYS_close, fd);
}

static const struct object *find_object(uintptr_t pc)
{
    for (unsigned i = 0; i < object_count; i++)
        if (pc >= objects[i].begin && pc < objects[i].end)
            return &objects[i];
    return NULL;
}

/* An object's file, mapped. */
struct image {
    const unsigned char *bytes;
    size_t size;
};

static bool is_inside(const struct image *image, uint64_t offset, uint64_t count, uint64_t each)
{
    return offset <= image->size && count <= (image->size - offset) / each;
}

static bool find_symbol_in(const struct image *image, const Elf64_Shdr *sections, const Elf64_Shdr *table,
                           uint64_t address, uint64_t *start, char *name, size_t name_size)
{
    const Elf64_Shdr *strings = &sections[table->sh_link];
    if (!is_inside(image, table->sh_offset, table->sh_size, 1) ||
        !is_inside(image, strings->sh_offset, strings->sh_size, 1) || table->sh_offset % 8 != 0)
        return false;
    const Elf64_Sym *symbols = (const void *)(image->bytes + table->sh_offset);
    for (size_t i = 0; i < table->sh_size / sizeof *symbols; i++) {
        const Elf64_Sym *symbol = &symbols[i];
        if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_shndx == SHN_UNDEF || address < symbol->st_value ||
            address - symbol->st_value >= symbol->st_size || symbol->st_name >= strings->sh_size)
            continue;
        size_t room = strings->sh_size - symbol->st_name, used = 0;
        const char *text = (const char *)image->bytes + strings->sh_offset + symbol->st_name;
        for (; used < room && used + 1 < name_size && text[used] != '\0'; used++)
            name[used] = text[used];
        name[used] = '\0';
        *start = symbol->st_value;
        return true;
    }
    return false;
}

/* The function that the byte at file_offset belongs to, and how far into it that is. */
static bool find_symbol(const struct image *image, uint64_t file_offset, char *name, size_t name_size,
                        uint64_t *distance)
{
    const Elf64_Ehdr *head = (const void *)image->bytes;
    if (image->size < sizeof *head || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
        head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_phoff % 8 != 0 || head->e_shoff % 8 != 0 ||
        !is_inside(image, head->e_phoff, head->e_phnum, sizeof(Elf64_Phdr)) ||
        !is_inside(image, head->e_shoff, head->e_shnum, sizeof(Elf64_Shdr)))
        return false;
    const Elf64_Phdr *segments = (const void *)(image->bytes + head->e_phoff);
    const Elf64_Shdr *sections = (const void *)(image->bytes + head->e_shoff);
    uint64_t address = UINT64_MAX, start;
    for (unsigned i = 0; i < head->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD && file_offset >= segments[i].p_offset &&
            file_offset - segments[i].p_offset < segments[i].p_filesz)
            address = segments[i].p_vaddr + (file_offset - segments[i].p_offset);
    static const uint32_t kinds[] = { SHT_SYMTAB, SHT_DYNSYM };
    for (unsigned k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (unsigned i = 0; i < head->e_shnum; i++) {
            if (sections[i].sh_type == kinds[k] && sections[i].sh_link < head->e_shnum &&
                find_symbol_in(image, sections, &sections[i], address, &start, name, name_size)) {
                *distance = address - start;
                return true;
            }
        }
    }
    return false;
}

/* is_return: the address behind a call, which may be the next function's first. */
static void print_frame(unsigned index, uintptr_t pc, bool is_return)
{
    const struct object *object = find_object(pc);
    if (object == NULL) {
        ouroi_warn("  #%u %p", index, (void *)pc);
        return;
    }
    char name[200];
    uint64_t offset = pc - object->begin + object->offset - is_return, distance;
    const char *base = strrchr(object->path, '/');
    base = base != NULL ? base + 1 : object->path;
    bool found = false;
    struct stat status;
    int fd = open_to_read(object->path);
    if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size > 0) {
        struct image image = { NULL, (size_t)status.st_size };
        long at = syscall(SYS_mmap, NULL, image.size, PROT_READ, MAP_PRIVATE, fd, 0L);
        if (at != -1) {
            image.bytes = (const unsigned char *)(uintptr_t)at;
            found = find_symbol(&image, offset, name, sizeof name, &distance);
            syscall(SYS_munmap, at, image.size);
        }
    }
    if (fd >= 0)
        syscall(SYS_close, fd);
    if (found)
        ouroi_warn("  #%u %p %s+0x%lx (%s)", index, (void *)pc, name, (unsigned long)distance + is_return, base);
    else
        ouroi_warn("  #%u %p (%s+0x%lx)", index, (void *)pc, base, (unsigned long)offset + is_return);
}

/* Whether the instruction before `pc` is a call. memory: /proc/self/mem. */
static bool is_after_call(int memory, uintptr_t pc)
{
#if defined(__x86_64__)
    unsigned char b[CALL_BYTES];
    if (pc < CALL_BYTES || syscall(SYS_pread64, memory, b, sizeof b, (long)(pc - CALL_BYTES)) != CALL_BYTES)
        return false;
    if (b[CALL_BYTES - 5] == 0xe8)
        return true;
    static const unsigned lengths[] = { 2, 3, 4, 6, 7 }; /* of a call through a register or memory: ff /2 */
    for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        if (b[CALL_BYTES - lengths[i]] == 0xff && (b[CALL_BYTES - lengths[i] + 1] & 0x38) == 0x10)
            return true;
    return false;
#elif defined(__aarch64__)
    uint32_t instruction;
    if (pc % 4 != 0 || syscall(SYS_pread64, memory, &instruction, sizeof instruction, (long)(pc - 4)) != 4)
        return false;
    return (instruction & 0xfc000000u) == 0x94000000u || (instruction & 0xfffffc1fu) == 0xd63f0000u;
#else
    (void)memory;
    (void)pc;
    return true;
#endif
}

static void print_calls(uintptr_t pc, uintptr_t sp)
{
    read_mappings();
    print_frame(0, pc, false);
    int memory = open_to_read("/proc/self/mem");
    if (memory < 0)
        return;
    long bytes = syscall(SYS_pread64, memory, stack_words, sizeof stack_words, (long)ouroi_align_down(sp, 8));
    size_t count = bytes > 0 ? (size_t)bytes / sizeof stack_words[0] : 0;
    unsigned frame = 1;
    for (size_t i = 0; i < count && frame < FRAMES_MAX; i++)
        if (find_object(stack_words[i]) != NULL && is_after_call(memory, stack_words[i]))
            print_frame(frame++, stack_words[i], true);
    syscall(SYS_close, memory);
}

static const char *syscall_name(uint64_t number)
{
    static const struct {
        long number;
        const char *name;
    } known[] = {
        { SYS_read, "read" },
        { SYS_write, "write" },
        { SYS_readv, "readv" },
        { SYS_writev, "writev" },
        { SYS_futex, "futex" },
        { SYS_nanosleep, "nanosleep" },
        { SYS_clock_nanosleep, "clock_nanosleep" },
        { SYS_ppoll, "ppoll" },
        { SYS_pselect6, "pselect6" },
        { SYS_epoll_pwait, "epoll_pwait" },
        { SYS_wait4, "wait4" },
        { SYS_waitid, "waitid" },
        { SYS_accept, "accept" },
        { SYS_accept4, "accept4" },
        { SYS_connect, "connect" },
        { SYS_recvfrom, "recvfrom" },
        { SYS_recvmsg, "recvmsg" },
        { SYS_sendto, "sendto" },
        { SYS_sendmsg, "sendmsg" },
        { SYS_flock, "flock" },
        { SYS_fcntl, "fcntl" },
        { SYS_fsync, "fsync" },
        { SYS_rt_sigtimedwait, "rt_sigtimedwait" },
        { SYS_rt_sigsuspend, "rt_sigsuspend" },
#ifdef SYS_poll
        { SYS_poll, "poll" },
        { SYS_select, "select" },
        { SYS_epoll_wait, "epoll_wait" },
        { SYS_pause, "pause" },
#endif
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if ((uint64_t)known[i].number == number)
            return known[i].name;
    return "another";
}

/* Reads a file of the thread's folder in /proc. */
static bool read_of_task(int tid, const char *what, char *text, size_t size)
{
    char path[64];
    ouroi_format(path, sizeof path, "/proc/self/task/%d/%s", tid, what);
    long used = ouroi_os_read_file(path, text, size);
    if (used <= 0)
        return false;
    if (text[used - 1] == '\n')
        text[used - 1] = '\0';
    return true;
}

static bool is_on_cpu(int tid)
{
    char text[256];
    if (!read_of_task(tid, "stat", text, sizeof text))
        return false;
    const char *end = strrchr(text, ')');
    return end != NULL && end[1] == ' ' && end[2] == 'R';
}

/* A thread in a system call: its number, and where. The last two numbers of the line are stack pointer and place. */
static bool parse_syscall(const char *text, uint64_t *number, uintptr_t *sp, uintptr_t *pc)
{
    uint64_t value = 0;
    const char *at = text;
    if (*at == '-')
        return false;
    for (; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    *number = value;
    unsigned count = 0;
    for (; at[0] == ' ' && at[1] == '0' && at[2] == 'x'; count++) {
        at += 3;
        *sp = *pc;
        *pc = parse_hex(&at);
    }
    return count == 8;
}

void ouroi_late_warn(struct ouroi_thread *thread, uint64_t waited_ns)
{
    int saved = errno;
    char name[32], text[256];
    uint64_t number = 0;
    uintptr_t pc = 0, sp = 0;
    unsigned long ms = (unsigned long)(waited_ns / 1000000);
    const char *format =
        "thread \"%s\" (tid %d) has reached no safepoint for %lu ms, and holds up a collection; it %s%s";
    if (!read_of_task(thread->tid, "comm", name, sizeof name))
        memcpy(name, thread->name, sizeof thread->name);
    if (read_of_task(thread->tid, "syscall", text, sizeof text) && parse_syscall(text, &number, &sp, &pc)) {
        ouroi_warn(format, name, thread->tid, ms, "sleeps in the system call ", syscall_name(number));
        print_calls(pc, sp);
    } else if (is_on_cpu(thread->tid) && ouroi_signal_hold(thread, &pc, &sp)) {
        ouroi_warn(format, name, thread->tid, ms, "runs", "");
        print_calls(pc, sp);
        ouroi_signal_let_go();
    } else {
        ouroi_warn(format, name, thread->tid, ms, "is somewhere that cannot be told", "");
    }
    errno = saved;
}
