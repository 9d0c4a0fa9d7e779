/* tools/tool.h: what the subcommands of `ouro` share: errors, colours, numbers for people, tables, progress.
 *
 * Conventions  results go to stdout, messages to stderr; colours and progress only where that is a terminal.
 * Sync         one thread.
 */
#ifndef OURO_TOOL_H
#define OURO_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What the process ends with; `ouro run` ends as the program did. */
enum tool_status { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 };

/* The subcommands, each in a file of its own. argv[0] is "ouro", for getopt_long's messages; the return value is the
 * status of the process. Each understands -h and --help, by tool_help, and says more of wrong usage by tool_usage. */
int ouro_cmd_run(int argc, char **argv);
int ouro_cmd_snapshot(int argc, char **argv);
int ouro_cmd_graph(int argc, char **argv);
int ouro_cmd_top(int argc, char **argv);
int ouro_cmd_info(int argc, char **argv);

/* "ouro: ..." and a newline, to stderr, in one write. tool_fail returns TOOL_FAILED, for `return tool_fail(...)`. */
void tool_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
int tool_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* After a message about the command line: where to read on. command: its name. Returns TOOL_USAGE. */
int tool_usage(const char *command);

/* --help of a subcommand: text as it is written, its headings ("Usage:", "Options:", ...) in bold on a terminal.
 * Returns TOOL_OK. */
int tool_help(const char *text);

/* The number that a whole argument is, with k, M or G (1024) after it if `units`. False, with a message that names
 * `option`, where it is none or out of range. */
bool tool_number(const char *option, const char *text, bool units, uint64_t low, uint64_t high, uint64_t *number);

/* Writes out what is in stdout's buffer. TOOL_FAILED, with a message, where that or an earlier write failed. */
int tool_flush(void);

/* An escape sequence where `out` is a terminal, NO_COLOR is unset or empty and TERM is not dumb; else "". */
enum tool_style { TOOL_PLAIN, TOOL_BOLD, TOOL_DIM, TOOL_RED, TOOL_GREEN, TOOL_YELLOW, TOOL_BLUE, TOOL_CYAN };
const char *tool_style(FILE *out, enum tool_style style);

/* Columns of the terminal; `otherwise` where `out` is none. COLUMNS is honoured. */
unsigned tool_columns(FILE *out, unsigned otherwise);
unsigned tool_rows(FILE *out, unsigned otherwise);

/* Numbers for people: "1.5 MiB", "12.3 M", "4.2 ms". */
struct tool_text {
    char text[32];
};
struct tool_text tool_bytes(double bytes);
struct tool_text tool_signed_bytes(double bytes); /* with + or - */
struct tool_text tool_count(double count);
struct tool_text tool_duration(double ns);
struct tool_text tool_percent(double part, double whole);
struct tool_text tool_grouped(uint64_t count); /* "12,345,678" */

/* A table: each column as wide as its widest cell, '<' left or '>' right aligned; the last, if it is left aligned, is
 * cut at the terminal's edge. */
struct tool_table;
/* heads: one for each character of `alignment`, or NULL: no headings. Memory: as all of the tool's, the process ends with
 * a message where there is none. */
struct tool_table *tool_table_new(const char *alignment, const char *const *heads);
/* The next cell, row by row. */
void tool_table_cell(struct tool_table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tool_table_style(struct tool_table *table, enum tool_style style); /* of the cell added last */
void tool_table_print(struct tool_table *table, FILE *out, unsigned indent);
void tool_table_free(struct tool_table *table);

/* malloc, calloc, realloc that end the process with a message where there is no memory. */
void *tool_alloc(size_t size);
void *tool_alloc_zero(size_t count, size_t size);
void *tool_realloc(void *p, size_t count, size_t size);
/* A formatted string, to be freed. */
char *tool_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line on stderr that is written over, where that is a terminal: shown once the work has taken half a second. */
struct tool_progress {
    const char *what;
    uint64_t total; /* 0: unknown */
    uint64_t begun_ns, shown_ns;
    bool wanted, shown;
};
void tool_progress_begin(struct tool_progress *progress, const char *what, uint64_t total);
void tool_progress_step(struct tool_progress *progress, uint64_t done); /* cheap enough for each thousandth item */
void tool_progress_end(struct tool_progress *progress);

uint64_t tool_now_ns(void); /* monotonic */

/* The OURO_ variables that the tool was started with, "NAME=value", NULL at the end. They are meant for programs: the
 * library inside the tool, and the tool itself, do not see them. */
extern char *tool_environment[];

#endif
