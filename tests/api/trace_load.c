/* Loads a snapshot and prints what it is of: "traces size count sample_bytes max_frames", then the functions, biggest first. */
#include <stdio.h>

#include <ouro/trace.h>

int main(int argc, char **argv)
{
    ouro_snapshot *snapshot = argc > 1 ? ouro_snapshot_load(argv[1]) : NULL;
    if (snapshot == NULL) {
        perror(argc > 1 ? argv[1] : "usage: trace_load FILE");
        return 1;
    }
    ouro_snapshot_info info;
    ouro_snapshot_get_info(snapshot, &info);
    printf("%zu %zu %zu %zu %u\n", info.traces, info.size, info.count, info.sample_bytes, info.max_frames);
    const ouro_trace_stat *stats;
    size_t count = ouro_snapshot_statistics(snapshot, OURO_BY_FUNCTION, &stats);
    for (size_t i = 0; i < count && i < 50; i++)
        printf("%zu %zu %s\n", stats[i].size, stats[i].count, stats[i].function != NULL ? stats[i].function : "?");
    ouro_snapshot_free(snapshot);
    return 0;
}
