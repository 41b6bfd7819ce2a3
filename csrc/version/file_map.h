/* The table files that a manifest names, by number: one object for each. */
#ifndef NR_VERSION_FILE_MAP_H
#define NR_VERSION_FILE_MAP_H

#include "version/version.h"

/* Zeroed is empty. */
struct nr_file_map {
    struct nr_table_file **slots; /* Refs; NULL: free. Open addressing, at most half full. */
    size_t capacity;              /* A power of two, or 0. */
    size_t count;
};
void nr_file_map_clear(struct nr_file_map *map);
struct nr_table_file *nr_file_map_find(const struct nr_file_map *map, uint64_t number); /* Borrowed; NULL if none. */
/* Refs the file, whose number is not there yet. */
NORI_WARN_UNUSED nori_status nr_file_map_add(struct nr_file_map *map, struct nr_table_file *file,
                                             struct nori_error *err);

#endif
