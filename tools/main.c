/* tools/main.c: the `ouro` tool: its subcommands and its own options. */
#include "tool.h"

#include <getopt.h>
#include <string.h>

#include <ouro/version.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
};

static const struct command commands[] = {
    { "run", ouro_cmd_run, "run a program on Ouroboros' malloc, and report" },
    { "snapshot", ouro_cmd_snapshot, "show who allocated what: the snapshots that tracing writes" },
    { "graph", ouro_cmd_graph, "explore a dumped graph of objects: what is there, and why it is alive" },
    { "top", ouro_cmd_top, "live statistics of a running process" },
    { "info", ouro_cmd_info, "version, machine, environment, where the libraries are" },
};

static const char head[] = "Usage: ouro COMMAND [OPTIONS] ...\n"
                           "\n"
                           "See where a program's memory goes, with Ouroboros as its malloc or under its objects.\n"
                           "\n"
                           "Commands:\n";
static const char tail[] = "\n"
                           "Options:\n"
                           "  -h, --help     this text; after a command, that command's\n"
                           "  -V, --version  the version\n"
                           "\n"
                           "Examples:\n";
static const char *const examples[][2] = {
    { "run", "  ouro run --stats -- ./server --port 8080\n"
             "  ouro run --trace -- sort big.txt > /dev/null\n" },
    { "snapshot", "  ouro snapshot server.ouro --by function --top 20\n" },
    { "graph", "  ouro graph heap.graph --why session\n" },
    { "top", "  ouro top $(pidof server)\n" },
};
static const char foot[] = "\n"
                           "Exit status: 0 success, 1 failure, 2 wrong usage; of `ouro run` the program's.\n";

static int help(void)
{
    char text[4096];
    size_t length = (size_t)snprintf(text, sizeof text, "%s", head);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (commands[i].run != NULL)
            length += (size_t)snprintf(text + length, sizeof text - length, "  %-10s %s\n", commands[i].name,
                                       commands[i].what);
    length += (size_t)snprintf(text + length, sizeof text - length, "%s", tail);
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++)
        for (size_t k = 0; k < sizeof commands / sizeof *commands; k++)
            if (commands[k].run != NULL && strcmp(commands[k].name, examples[i][0]) == 0)
                length += (size_t)snprintf(text + length, sizeof text - length, "%s", examples[i][1]);
    snprintf(text + length, sizeof text - length, "%s", foot);
    return tool_help(text);
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (commands[i].run != NULL && strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    static char name[] = "ouro";
    if (argc < 1)
        return tool_usage(NULL);
    argv[0] = name;
    int option = getopt_long(argc, argv, "+hV", options, NULL);
    if (option == 'V') {
        printf("ouro %s\n", OURO_VERSION_STRING);
        return tool_flush();
    }
    if (option == 'h')
        return help();
    if (option != -1)
        return tool_usage(NULL);
    if (optind == argc) {
        tool_error("no command given");
        return tool_usage(NULL);
    }
    char **rest = argv + optind;
    int count = argc - optind;
    if (strcmp(rest[0], "help") == 0) { /* `ouro help CMD` is `ouro CMD --help` */
        static char wanted[] = "--help";
        if (count == 1)
            return help();
        rest++;
        count = 2;
        if (find(rest[0]) != NULL)
            return find(rest[0])->run(2, (char *[]){ name, wanted, NULL });
    }
    const struct command *command = find(rest[0]);
    if (command == NULL) {
        tool_error("there is no command %s", rest[0]);
        return tool_usage(NULL);
    }
    rest[0] = name;
    optind = 0; /* getopt_long starts again */
    return command->run(count, rest);
}
