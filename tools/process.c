/* tools/process.c: see process.h: finding our libraries in a process, and reading its memory.
 *
 * A mapping that begins a file's image begins with an ELF header, in memory as in the file; its program headers name the
 * notes; ours says where the page is (lib/stats/stats.h). So neither the file nor its symbols are needed, and what was
 * deleted or replaced since is read as well.
 */
#include "process.h"

#include "process_memory.h"
#include "tool.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <ouro/version.h>

bool process_get(const struct process *process, uint64_t at, void *to, size_t bytes)
{
    struct iovec here = { to, bytes }, there = { (void *)(uintptr_t)at, bytes };
    return process_vm_readv(process->pid, &here, 1, &there, 1, 0) == (ssize_t)bytes;
}

/* Whatever is wrong with a process, in words. */
static bool refuse(pid_t pid, int error)
{
    if (error == ESRCH)
        tool_error("there is no process %d", (int)pid);
    else if (error == EPERM || error == EACCES)
        tool_error(
            "no permission to look into process %d: it is another user's, or privileged, or the kernel allows it to "
            "root only (/proc/sys/kernel/yama/ptrace_scope)",
            (int)pid);
    else
        tool_error("cannot look into process %d: %s", (int)pid, strerror(error));
    return false;
}

/* The page that a note in [at, at + bytes) names, or 0. */
static uint64_t find_in_notes(const struct process *process, uint64_t at, uint64_t bytes)
{
    char notes[16384];
    if (bytes > sizeof notes || !process_get(process, at, notes, bytes))
        return 0;
    for (uint64_t i = 0; i + sizeof(Elf64_Nhdr) <= bytes;) {
        Elf64_Nhdr head;
        memcpy(&head, notes + i, sizeof head);
        uint64_t name = i + sizeof head, text = name + ((uint64_t)head.n_namesz + 3) / 4 * 4;
        uint64_t next = text + ((uint64_t)head.n_descsz + 3) / 4 * 4;
        if (next > bytes)
            return 0;
        if (head.n_type == OUROI_NOTE_PAGE && head.n_namesz == sizeof OUROI_NOTE_OWNER && head.n_descsz == 8 &&
            memcmp(notes + name, OUROI_NOTE_OWNER, sizeof OUROI_NOTE_OWNER) == 0) {
            int64_t distance;
            memcpy(&distance, notes + text, sizeof distance);
            return at + text + (uint64_t)distance;
        }
        i = next;
    }
    return 0;
}

/* The page of the image that is mapped at `start`, or 0. */
static uint64_t find_in_image(const struct process *process, uint64_t start)
{
    Elf64_Ehdr head;
    Elf64_Phdr part[64];
    if (!process_get(process, start, &head, sizeof head) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
        head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_phentsize != sizeof *part || head.e_phnum > 64 ||
        !process_get(process, start + head.e_phoff, part, head.e_phnum * sizeof *part))
        return 0;
    uint64_t bias = start, page = 0;
    for (unsigned i = 0; i < head.e_phnum; i++)
        if (part[i].p_type == PT_LOAD && part[i].p_offset == 0)
            bias = start - part[i].p_vaddr;
    for (unsigned i = 0; i < head.e_phnum && page == 0; i++)
        if (part[i].p_type == PT_NOTE)
            page = find_in_notes(process, bias + part[i].p_vaddr, part[i].p_memsz);
    return page;
}

/* Adds the library whose page is there. False, with a message: it is of another version. */
static bool add_library(struct process *process, uint64_t at)
{
    struct process_library *library = tool_alloc_zero(1, sizeof *library);
    struct ouroi_page *page = &library->page;
    size_t head = offsetof(struct ouroi_page, arena);
    if (!process_get(process, at, page, head) || page->magic != OUROI_PAGE_MAGIC) {
        free(library); /* it has not started yet */
        return true;
    }
    page->lib[sizeof page->lib - 1] = page->lib_version[sizeof page->lib_version - 1] = '\0';
    if (page->version != OUROI_PAGE_VERSION || page->bytes < sizeof *page) {
        tool_error("%s in process %d is of version %s, whose memory this version of the tool (%s) cannot read",
                   page->lib, (int)process->pid, page->lib_version, OURO_VERSION_STRING);
        free(library);
        return false;
    }
    if (!process_get(process, at, page, sizeof *page) || process->libraries == PROCESS_LIBRARIES) {
        free(library);
        return true;
    }
    process->lib[process->libraries++] = library;
    return true;
}

static bool find_libraries(struct process *process, FILE *maps)
{
    char line[4608];
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long long start, end, offset;
        char access[8];
        if (sscanf(line, "%llx-%llx %7s %llx", &start, &end, access, &offset) != 4 || offset != 0 || access[0] != 'r' ||
            strchr(line, '/') == NULL)
            continue;
        uint64_t page = find_in_image(process, start);
        if (page != 0 && !add_library(process, page))
            return false;
    }
    return true;
}

bool process_open(struct process *process, pid_t pid)
{
    char path[64], probe;
    *process = (struct process){ .pid = pid };
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return refuse(pid, errno == ENOENT ? ESRCH : errno);
    if (fgets(process->name, sizeof process->name, file) != NULL)
        process->name[strcspn(process->name, "\n")] = '\0';
    fclose(file);
    /* The kernel says whether it may be looked into before it looks. */
    struct iovec here = { &probe, 1 }, there = { (void *)(uintptr_t)1, 1 };
    if (process_vm_readv(pid, &here, 1, &there, 1, 0) < 0 && errno != EFAULT)
        return refuse(pid, errno);
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return refuse(pid, errno == ENOENT ? ESRCH : errno);
    bool readable = find_libraries(process, file);
    fclose(file);
    if (readable && process->libraries != 0)
        return true;
    if (readable)
        tool_error("process %d (%s) has no library of Ouroboros in it, or has not started yet", (int)pid,
                   process->name);
    process_close(process);
    return false;
}

void process_close(struct process *process)
{
    for (size_t i = 0; i < process->libraries; i++)
        free(process->lib[i]);
    process->libraries = 0;
}

const char *process_library_name(const struct process_library *library)
{
    return library->page.lib;
}

const char *process_library_version(const struct process_library *library)
{
    return library->page.lib_version;
}

bool process_kernel(const struct process *process, struct process_kernel *kernel)
{
    char path[64], line[1024];
    *kernel = (struct process_kernel){ 0 };
    snprintf(path, sizeof path, "/proc/%d/status", (int)process->pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long long value;
        if (sscanf(line, "VmRSS: %llu", &value) == 1)
            kernel->resident = value * 1024;
        else if (sscanf(line, "VmHWM: %llu", &value) == 1)
            kernel->peak_resident = value * 1024;
        else if (sscanf(line, "Threads: %llu", &value) == 1)
            kernel->threads = value;
    }
    fclose(file);
    snprintf(path, sizeof path, "/proc/%d/stat", (int)process->pid);
    file = fopen(path, "re");
    bool got = file != NULL && fgets(line, sizeof line, file) != NULL;
    if (file != NULL)
        fclose(file);
    const char *rest = got ? strrchr(line, ')') : NULL;
    unsigned long long user, system, started;
    if (rest == NULL || rest[2] == 'Z' || rest[2] == 'X' ||
        sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %llu", &user,
               &system, &started) != 3)
        return false;
    kernel->cpu_ns = (user + system) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
    kernel->started_ticks = started;
    return true;
}
