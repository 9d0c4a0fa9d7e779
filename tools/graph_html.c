#include "graph.h"
int graph_write_html(const struct graph_report *report, const char *path)
{
    (void)report;
    return tool_fail("%s", path);
}
