/* tools/info.c: `ouro info`: what there is to know before one asks a question about a program: version, build, machine,
 * limits, environment, libraries. */
#include "library.h"
#include "tool.h"

#include <ctype.h>
#include <getopt.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <ouro/version.h>

static const char help[] =
    "Usage: ouro info [OPTIONS]\n"
    "\n"
    "Says which Ouroboros this is and where, what the machine has and allows, and which OURO_ variables are\n"
    "set: what the library would find if it started here and now.\n"
    "\n"
    "Options:\n"
    "  -l, --library NAME   only the path of a library: malloc (libouro_malloc.so), ouro (libouro.so), or with\n"
    "                       .a at the end the static one; for scripts\n"
    "  -h, --help           this text\n"
    "\n"
    "Examples:\n"
    "  ouro info\n"
    "  LD_PRELOAD=$(ouro info --library malloc) ./server\n";

static void heading(const char *text)
{
    printf("%s%s%s\n", tool_style(stdout, TOOL_BOLD), text, tool_style(stdout, TOOL_PLAIN));
}

static void line(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(const char *name, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    printf("  %-19s ", name);
    vprintf(format, list);
    printf("\n");
    va_end(list);
}

/* The first line of a small file, without its newline; NULL: there is none. */
static const char *first_line(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return NULL;
    bool got = fgets(text, (int)size, file) != NULL;
    fclose(file);
    if (!got)
        return NULL;
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static void show_build(void)
{
    heading("Ouroboros " OURO_VERSION_STRING);
    line("compiler", "%s", BUILD_COMPILER);
    line("build", "%s%s", BUILD_TYPE, BUILD_DEBUG ? ", with asserts and walks" : "");
    line("flags", "%s", BUILD_FLAGS);
    line("sanitizers", "%s", *BUILD_SANITIZE != '\0' ? BUILD_SANITIZE : "none");
}

static void show_libraries(void)
{
    static const struct {
        const char *name, *suffix, *what;
    } all[] = { { "libouro_malloc", ".so", "malloc, shared" },
                { "libouro_malloc", ".a", "malloc, static" },
                { "libouro", ".so", "runtime, shared" },
                { "libouro", ".a", "runtime, static" } };
    heading("Libraries");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char *path = library_find(all[i].name, all[i].suffix);
        line(all[i].what, "%s", path != NULL ? path : "not found");
        free(path);
    }
    char *tool = library_tool();
    line("this tool", "%s", tool);
    free(tool);
}

/* Machine. */

static void show_cpus(void)
{
    cpu_set_t *set = NULL;
    int cpus = 0;
    char text[128], model[256] = "";
    for (size_t room = 1024; room <= 65536 && cpus == 0; room *= 2) {
        set = CPU_ALLOC(room);
        if (set != NULL && sched_getaffinity(0, CPU_ALLOC_SIZE(room), set) == 0)
            cpus = CPU_COUNT_S(CPU_ALLOC_SIZE(room), set);
        CPU_FREE(set);
    }
    FILE *file = fopen("/proc/cpuinfo", "re");
    for (char row[512]; file != NULL && *model == '\0' && fgets(row, sizeof row, file) != NULL;)
        if (strncmp(row, "model name", 10) == 0 && strchr(row, ':') != NULL)
            snprintf(model, sizeof model, ", %.*s", (int)strcspn(strchr(row, ':') + 2, "\n"), strchr(row, ':') + 2);
    if (file != NULL)
        fclose(file);
    line("CPUs", "%d allowed of %ld%s", cpus, sysconf(_SC_NPROCESSORS_ONLN), model);
    const char *quota = first_line("/sys/fs/cgroup/cpu.max", text, sizeof text);
    unsigned long long max, period;
    if (quota != NULL && sscanf(quota, "%llu %llu", &max, &period) == 2 && period != 0)
        line("CPU quota", "%.2f CPUs, of the cgroup", (double)max / (double)period);
    else
        line("CPU quota", "none");
}

static void show_memory(void)
{
    char text[256];
    line("memory", "%s", tool_bytes((double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE)).text);
    const char *limit = first_line("/sys/fs/cgroup/memory.max", text, sizeof text);
    if (limit == NULL)
        limit = first_line("/sys/fs/cgroup/memory/memory.limit_in_bytes", text, sizeof text);
    double bytes = limit != NULL && isdigit((unsigned char)*limit) ? strtod(limit, NULL) : 0;
    bool limited = bytes > 0 && bytes < 9e18;
    if (limited)
        line("memory limit", "%s, of the cgroup", tool_bytes(bytes).text);
    else
        line("memory limit", "none");
    struct rlimit space;
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
        line("address space", "%s at most (ulimit -v)", tool_bytes((double)space.rlim_cur).text);
    line("pages", "%s", tool_bytes((double)sysconf(_SC_PAGESIZE)).text);
    const char *huge = first_line("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text);
    const char *open = huge != NULL ? strchr(huge, '[') : NULL;
    line("huge pages", "%.*s", open != NULL ? (int)strcspn(open + 1, "]") : 7, open != NULL ? open + 1 : "unknown");
    const char *overcommit = first_line("/proc/sys/vm/overcommit_memory", text, sizeof text);
    line("overcommit", "%s",
         overcommit == NULL   ? "unknown"
         : *overcommit == '0' ? "by guess (0)"
         : *overcommit == '1' ? "always (1)"
                              : "never (2)");
}

static void show_nodes(void)
{
    char text[256], path[96];
    const char *nodes = first_line("/sys/devices/system/node/has_memory", text, sizeof text);
    line("NUMA nodes", "with memory: %s", nodes != NULL ? nodes : "unknown");
    for (int node = 0; nodes != NULL && strpbrk(nodes, ",-") != NULL && node < 64; node++) {
        char row[256], name[24];
        unsigned long long kib = 0;
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", node);
        if (first_line(path, row, sizeof row) == NULL)
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", node);
        FILE *file = fopen(path, "re");
        if (file != NULL) {
            if (fscanf(file, "Node %*d MemTotal: %llu", &kib) != 1)
                kib = 0;
            fclose(file);
        }
        snprintf(name, sizeof name, "  node %d", node);
        line(name, "CPUs %s; %s", row, tool_bytes((double)kib * 1024).text);
    }
}

static void show_machine(void)
{
    struct utsname name;
    heading("Machine");
    if (uname(&name) == 0)
        line("system", "%s %s, %s", name.sysname, name.release, name.machine);
    show_cpus();
    show_memory();
    show_nodes();
    char text[32];
    const char *scope = first_line("/proc/sys/kernel/yama/ptrace_scope", text, sizeof text);
    line("ouro top", "%s",
         scope == NULL || *scope == '0' ? "sees your own processes"
         : *scope == '1'                ? "sees only its own children, but as root (ptrace_scope 1)"
                                        : "works as root only (ptrace_scope 2 or more)");
}

/* Environment. */

static bool is_known(const char *entry)
{
    size_t length = strcspn(entry, "=");
    for (const struct library_variable *variable = library_variables; variable->name != NULL; variable++)
        if (strlen(variable->name) == length && strncmp(variable->name, entry, length) == 0)
            return true;
    return false;
}

static void show_environment(void)
{
    static const char *const heads[] = { "Environment", "value", "default", "meaning" };
    struct tool_table *table = tool_table_new("<<<<", heads);
    for (const struct library_variable *variable = library_variables; variable->name != NULL; variable++) {
        const char *value = library_setting(variable->name);
        tool_table_cell(table, "  %s", variable->name);
        tool_table_cell(table, "%s", value != NULL ? value : "-");
        if (value != NULL)
            tool_table_style(table, TOOL_YELLOW);
        tool_table_cell(table, "%s", variable->otherwise);
        tool_table_cell(table, "%s", variable->meaning);
    }
    tool_table_print(table, stdout, 0);
    tool_table_free(table);
    for (char **entry = tool_environment; *entry != NULL; entry++)
        if (!is_known(*entry))
            printf("  %s%.*s is no variable of this version%s\n", tool_style(stdout, TOOL_RED),
                   (int)strcspn(*entry, "="), *entry, tool_style(stdout, TOOL_PLAIN));
    const char *preload = getenv("LD_PRELOAD");
    if (preload != NULL && *preload != '\0')
        line("LD_PRELOAD", "%s", preload);
}

/* name: malloc, ouro, malloc.a, ouro.a. */
static int show_one(const char *name)
{
    const char *dot = strchr(name, '.');
    size_t length = dot != NULL ? (size_t)(dot - name) : strlen(name);
    bool is_malloc = length == 6 && strncmp(name, "malloc", 6) == 0;
    bool known = is_malloc || (length == 4 && strncmp(name, "ouro", 4) == 0);
    if (!known || (dot != NULL && strcmp(dot, ".a") != 0 && strcmp(dot, ".so") != 0)) {
        tool_error("--library: there is no library %s", name);
        return tool_usage("info");
    }
    const char *file = is_malloc ? "libouro_malloc" : "libouro", *suffix = dot != NULL ? dot : ".so";
    char *path = library_find(file, suffix);
    if (path == NULL)
        return tool_fail("%s%s is not there", file, suffix);
    printf("%s\n", path);
    free(path);
    return tool_flush();
}

int ouro_cmd_info(int argc, char **argv)
{
    static const struct option options[] = {
        { "library", required_argument, NULL, 'l' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    const char *only = NULL;
    for (int option; (option = getopt_long(argc, argv, "l:h", options, NULL)) != -1;) {
        if (option == 'h')
            return tool_help(help);
        if (option != 'l')
            return tool_usage("info");
        only = optarg;
    }
    if (optind != argc) {
        tool_error("%s: info takes no arguments", argv[optind]);
        return tool_usage("info");
    }
    if (only != NULL)
        return show_one(only);
    show_build();
    show_libraries();
    show_machine();
    show_environment();
    return tool_flush();
}
