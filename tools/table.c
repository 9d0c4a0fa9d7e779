/* tools/table.c: tables of text. */
#include "tool.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct cell {
    char *text;
    enum tool_style style;
};

struct tool_table {
    size_t columns, cells, room;
    char *alignment;
    struct cell *cell; /* row by row; the headings first */
    bool headed;
};

static void add(struct tool_table *table, char *text, enum tool_style style)
{
    if (table->cells == table->room) {
        table->room = table->room == 0 ? 64 : 2 * table->room;
        table->cell = tool_realloc(table->cell, table->room, sizeof *table->cell);
    }
    table->cell[table->cells++] = (struct cell){ text, style };
}

struct tool_table *tool_table_new(const char *alignment, const char *const *heads)
{
    struct tool_table *table = tool_alloc_zero(1, sizeof *table);
    table->columns = strlen(alignment);
    table->alignment = tool_format("%s", alignment);
    table->headed = heads != NULL;
    for (size_t i = 0; table->headed && i < table->columns; i++)
        add(table, tool_format("%s", heads[i]), TOOL_BOLD);
    return table;
}

void tool_table_cell(struct tool_table *table, const char *format, ...)
{
    va_list list;
    char *text = NULL;
    va_start(list, format);
    if (vasprintf(&text, format, list) < 0)
        text = NULL;
    va_end(list);
    add(table, text != NULL ? text : tool_format("?"), TOOL_PLAIN);
}

void tool_table_style(struct tool_table *table, enum tool_style style)
{
    table->cell[table->cells - 1].style = style;
}

/* Characters of UTF-8 in the first `bytes`. */
static size_t width(const char *text, size_t bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

/* Bytes of the first `columns` characters. */
static size_t cut(const char *text, size_t columns)
{
    size_t bytes = 0, count = 0;
    for (; text[bytes] != '\0'; bytes++)
        if (((unsigned char)text[bytes] & 0xc0) != 0x80 && count++ == columns)
            break;
    return bytes;
}

static void print_cell(const struct tool_table *table, size_t column, size_t wide, const struct cell *cell, FILE *out)
{
    size_t bytes = strlen(cell->text), count = width(cell->text, bytes);
    size_t padding = wide > count ? wide - count : 0;
    bool right = table->alignment[column] == '>', last = column + 1 == table->columns;
    if (last && !right && count > wide) {
        bytes = cut(cell->text, wide);
        padding = 0;
    }
    const char *style = cell->style != TOOL_PLAIN ? tool_style(out, cell->style) : "";
    fprintf(out, "%*s%s%.*s%s%*s", right ? (int)padding : 0, "", style, (int)bytes, cell->text,
            *style != '\0' ? tool_style(out, TOOL_PLAIN) : "", right || last ? 0 : (int)padding, "");
}

void tool_table_print(struct tool_table *table, FILE *out, unsigned indent)
{
    size_t *wide = tool_alloc_zero(table->columns, sizeof *wide), before = indent;
    for (size_t i = 0; i < table->cells; i++) {
        size_t count = width(table->cell[i].text, strlen(table->cell[i].text));
        if (count > wide[i % table->columns])
            wide[i % table->columns] = count;
    }
    for (size_t i = 0; i + 1 < table->columns; i++)
        before += wide[i] + 2;
    size_t edge = tool_columns(out, 0), last = table->columns - 1;
    if (edge > before + 8 && wide[last] > edge - before)
        wide[last] = edge - before;
    for (size_t i = 0; i < table->cells; i++) {
        size_t column = i % table->columns;
        fprintf(out, "%*s", column == 0 ? (int)indent : 2, "");
        print_cell(table, column, wide[column], &table->cell[i], out);
        if (column == last)
            fputc('\n', out);
    }
    free(wide);
}

void tool_table_free(struct tool_table *table)
{
    for (size_t i = 0; i < table->cells; i++)
        free(table->cell[i].text);
    free(table->cell);
    free(table->alignment);
    free(table);
}
